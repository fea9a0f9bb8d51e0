"""How this machine holds an instance to its limits of memory and processor, and what of it is really in force.

Control groups where we may make them (as root: version 2, or the memory and cpu hierarchies of version 1), else what
any process may put on itself: a limit of data for each of its processes, and a lower priority. Planned here for
`blocks/target_local.py`, put on by `blocks/launch.py` at every start, read back from the kernel: never believed.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from blocks.identity import is_root
from domain.canonical import sha256_hex
from domain.service import Limits

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
_PROCS = "cgroup.procs"
_UNLIMITED_BYTES = 1 << 60
"""Version 1 says of no limit that it is the most pages that it can count."""

MEMORY_EACH = "memory_bytes: no control group here; each process of an instance has this limit for itself"
CPU_PRIORITY = "cpu_share: no control group here; a lower priority only, which holds while others want the processor"


@dataclass(frozen=True, slots=True)
class Groups:
    """Where the control groups of one installation are: one folder for both in version 2, one each in version 1."""

    memory: Path
    cpu: Path

    @property
    def is_unified(self) -> bool:
        return self.memory == self.cpu

    def folders(self, unit: str) -> list[Path]:
        return list(dict.fromkeys((self.memory / unit, self.cpu / unit)))


def find_groups(state: Path) -> Groups | None:
    """Find where this installation may make control groups, by trying; None where it may not."""
    return _find_groups(f"slipway-{sha256_hex(str(state))[:8]}") if is_root() else None


@cache
def _find_groups(name: str) -> Groups | None:
    for memory, cpu in ((ROOT, ROOT), (ROOT / "memory", ROOT / "cpu")):
        groups = Groups(memory / name, cpu / name)
        if _is_usable(groups):
            return groups
    return None


def _is_usable(groups: Groups) -> bool:
    try:
        if groups.is_unified and not {"memory", "cpu"} <= _words(groups.memory.parent / "cgroup.controllers"):
            return False
        for folder in groups.folders(""):
            folder.mkdir(exist_ok=True)
        if groups.is_unified:
            for folder in (groups.memory.parent, groups.memory):
                (folder / "cgroup.subtree_control").write_text("+memory +cpu")
        return all(os.access(folder / _PROCS, os.W_OK) for folder in groups.folders(""))
    except OSError:
        return False


def _words(path: Path) -> set[str]:
    return set(path.read_text().split())


def plan_holds(limits: Limits, *, groups: Groups | None, unit: str) -> dict[str, Any]:
    """Say what `launch.py` puts on an instance; empty where it has no limit."""
    if limits == Limits():
        return {}
    if groups is not None:
        return {"cgroups": [[str(folder), files] for folder, files in _written(groups, unit, limits)]}
    holds: dict[str, Any] = {}
    if limits.memory_bytes is not None:
        holds["data_bytes"] = limits.memory_bytes
    if limits.cpu_share is not None:
        holds["niceness"] = niceness_for(limits.cpu_share)
    return holds


def niceness_for(cpu_share: float) -> int:
    """A priority in the place of a share: 0 from a whole core on, 10 at a half, 15 at a quarter."""
    return min(19, max(0, round(20 * (1 - cpu_share))))


def _written(groups: Groups, unit: str, limits: Limits) -> Iterator[tuple[Path, dict[str, str]]]:
    """Each folder with what is written into its files, in order; an empty text stands for the process's own id."""
    if groups.is_unified:
        # made anew after a reboot, and then they are without controllers
        for folder in (groups.memory.parent, groups.memory):
            yield folder, {"cgroup.subtree_control": "+memory +cpu"}
    memory: dict[str, str] = {}
    cpu: dict[str, str] = {}
    if limits.memory_bytes is not None:
        memory["memory.max" if groups.is_unified else "memory.limit_in_bytes"] = str(limits.memory_bytes)
    if limits.cpu_share is not None:
        quota = str(max(1000, round(limits.cpu_share * PERIOD_US)))
        if groups.is_unified:
            cpu["cpu.max"] = f"{quota} {PERIOD_US}"
        else:
            cpu |= {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": quota}
    if groups.is_unified:
        yield groups.memory / unit, {**memory, **cpu, _PROCS: ""}
        return
    for folder, files in ((groups.memory, memory), (groups.cpu, cpu)):
        if files:
            yield folder / unit, {**files, _PROCS: ""}


def limits_in_force(pid: int, *, groups: Groups | None, unit: str) -> tuple[Limits, tuple[str, ...]]:
    """Read which limits hold a process, and which of them this machine can't put on an instance as a whole."""
    if groups is not None:
        memory = _memory_of(groups, unit) if _holds(groups.memory / unit, pid) else None
        cpu = _cpu_of(groups, unit) if _holds(groups.cpu / unit, pid) else None
        return Limits(memory, cpu), ()
    priority = _niceness(pid)
    return Limits(_data_limit(pid), 1 - priority / 20 if priority else None), (MEMORY_EACH, CPU_PRIORITY)


def _holds(folder: Path, pid: int) -> bool:
    with suppress(OSError):
        return str(pid) in _words(folder / _PROCS)
    return False


def _memory_of(groups: Groups, unit: str) -> int | None:
    name = "memory.max" if groups.is_unified else "memory.limit_in_bytes"
    with suppress(OSError, ValueError):  # "max" is no limit
        found = int((groups.memory / unit / name).read_text())
        return found if found < _UNLIMITED_BYTES else None
    return None


def _cpu_of(groups: Groups, unit: str) -> float | None:
    folder = groups.cpu / unit
    with suppress(OSError, ValueError):
        if groups.is_unified:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    return None


def _data_limit(pid: int) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/limits").read_text()
        return int(text.split("Max data size")[1].split()[0])
    return None


def _niceness(pid: int) -> int:
    with suppress(OSError):
        return os.getpriority(os.PRIO_PROCESS, pid)
    return 0


def forget_groups(unit: str, *, groups: Groups | None) -> None:
    """Take the control groups of an ended instance away; one that still holds something stays for the next time."""
    for folder in groups.folders(unit) if groups else ():
        with suppress(OSError):
            folder.rmdir()


def forget_all_groups(*, groups: Groups | None) -> None:
    """Take all control groups of an installation away, once nothing of it runs."""
    for base in groups.folders("") if groups else ():
        with suppress(OSError):
            for unit in (path for path in base.iterdir() if path.is_dir()):
                forget_groups(unit.name, groups=groups)
            base.rmdir()
