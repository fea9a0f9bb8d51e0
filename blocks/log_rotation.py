"""Bounds the logs that programs under supervisor append to: copied beside, then cut, while they write on.

Called by the keeper (`deployments/stack/keeper.py`) every few seconds. A line that is written between copy and cut is
lost; a program need not be told. Only the standard library: the keeper must be small.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path


def rotate_logs(folder: Path) -> list[Path]:
    """Turn each log over that has passed its size; returns those turned.

    Args:
        folder: supervisor's own, with a launch file for each program, which names log, size and number of backups.
    """
    return [log for log, size_bytes_max, backups in _logs(folder) if _turn(log, size_bytes_max, backups)]


def _logs(folder: Path) -> Iterator[tuple[Path, int, int]]:
    for path in sorted((folder / "launch").glob("*/*.json")):
        try:
            launch = json.loads(path.read_text())
            yield Path(launch["log"]), int(launch["log_size_bytes_max"]), int(launch["log_backups"])
        except (OSError, ValueError, KeyError):
            continue  # taken away or being written at this moment


def _turn(log: Path, size_bytes_max: int, backups: int) -> bool:
    try:
        if log.stat().st_size <= size_bytes_max:
            return False
        for number in range(backups - 1, 0, -1):
            older = log.with_name(f"{log.name}.{number}")
            if older.exists():
                older.replace(log.with_name(f"{log.name}.{number + 1}"))
        if backups:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            log.with_name(f"{log.name}.1").chmod(0o600)
        with log.open("r+b") as file:
            file.truncate(0)
    except OSError:
        return False  # no space, or gone: the next round tries again
    return True
