"""Parquet files by a child process: pyarrow is no part of what Slipway runs on, and its import costs half a second.

Called through `Archives`. The environment is made from `requirements/data.txt` where it is first needed.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blocks.identity import clean_environment
from domain.errors import ConfigError, InvariantError, TransientError

PROGRAM = Path(__file__).with_name("parquet_child.py")
_LIMIT_S = 900


def pack(python: Callable[[], Path], csv: Path, parquet: Path, *, columns: Any, about: Mapping[str, Any]) -> int:
    """Turn a CSV into Parquet (zstd); returns its rows."""
    told = json.dumps({"columns": [list(one) for one in columns], "about": dict(about)})
    return _run(python(), ["pack", str(csv), str(parquet)], told)


def unpack(python: Callable[[], Path], parquet: Path, csv: Path) -> int:
    """Turn Parquet into a CSV that COPY reads; returns its rows."""
    return _run(python(), ["unpack", str(parquet), str(csv)], "")


def _run(python: Path, arguments: list[str], told: str) -> int:
    command = ["nice", "-n", "10", str(python), "-I", str(PROGRAM), *arguments]
    try:
        done = subprocess.run(
            command, input=told, env=clean_environment(), capture_output=True, text=True, check=False, timeout=_LIMIT_S
        )
    except subprocess.TimeoutExpired as exc:
        raise TransientError(f"Writing {arguments[0]} did not end in {_LIMIT_S} s. It is tried again.") from exc
    except OSError as exc:
        raise ConfigError(f"{python} does not run: {exc}. Remove its folder, then run again.") from exc
    if done.returncode != 0:
        # the last line is the exception's: pyarrow quotes no more than a cell in it
        words = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1][:256]
        raise InvariantError(f"Parquet could not be written or read ({arguments[0]}): {words}")
    return int(json.loads(done.stdout)["rows"])
