"""Usage of this machine: processor, memory, file systems, and NVIDIA's GPUs where their tool is installed.

It sees the present only: an interval that ended long ago has no sample, which is a gap.
"""

import csv
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psutil

from domain.errors import TransientError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource, as_name, as_time

PRESENT_S = 150
PROCESSOR_S = 1.0
MIB = 1024.0**2
_NO_DISK = ("tmpfs", "devtmpfs", "overlay", "squashfs", "ramfs", "iso9660")
_GPU_FIELDS = "index,name,utilization.gpu,memory.used,memory.total"


class MachineUsage:
    """Fulfils `domain.ports.UsageSource` for the machine that it runs on.

    Args:
        owner: the machine's name in keys.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner

    @property
    def name(self) -> str:
        return f"machine:{self._owner}"

    def read(self, interval: Interval) -> Reading:
        """One sample of each resource, stamped with the interval's last second; none of a time that has gone."""
        if datetime.now(UTC) - interval.end > timedelta(seconds=PRESENT_S):
            return Reading()
        values = dict(self._values())
        problems: tuple[Remark, ...] = ()
        try:
            values.update((resource, used) for resource, used, _ in self._gpus())
        except TransientError as exc:
            problems = (Remark("usage.half", {"source": self.name, "answered": 3, "asked": 4, "reason": str(exc)}),)
        at = np.array([as_time(interval.end - timedelta(seconds=1))], dtype="datetime64[s]")
        return Reading(tuple(Measured(one, at, np.array([value])) for one, value in values.items()), problems)

    def limits(self) -> list[Limit]:
        cores, memory = psutil.cpu_count() or 1, psutil.virtual_memory().total
        limits = [
            Limit(Resource(Metric.CPU, self._owner), float(cores), "cores of the machine"),
            Limit(Resource(Metric.MEMORY, self._owner), float(memory), "MemTotal of the machine"),
        ]
        for disk, mountpoint, usage in self._disks():
            # what root alone may fill is no room
            if size := float(usage.used + usage.free):
                limits.append(Limit(disk, size, f"size of {mountpoint} for ordinary users"))
        try:
            gpus = list(self._gpus())
        except TransientError:
            return limits
        for resource, _, most in gpus:
            limits.append(Limit(resource, most, "nvidia-smi"))
        return limits

    def _values(self) -> Iterator[tuple[Resource, float]]:
        cores = psutil.cpu_count() or 1
        yield Resource(Metric.CPU, self._owner), psutil.cpu_percent(interval=PROCESSOR_S) / 100 * cores
        memory = psutil.virtual_memory()
        yield Resource(Metric.MEMORY, self._owner), float(memory.total - memory.available)
        for disk, _, usage in self._disks():
            yield disk, float(usage.used)

    def _disks(self) -> list[tuple[Resource, str, Any]]:
        """File systems on devices, each device once: a bind mount is the same room."""
        found: dict[str, tuple[str, Any]] = {}
        for part in psutil.disk_partitions(all=False):
            if part.fstype in _NO_DISK:
                continue
            try:
                usage = psutil.disk_usage(part.mountpoint)
            except OSError:
                continue  # hidden from us, or its server is away
            if usage.total:
                found.setdefault(part.device, (part.mountpoint, usage))
        if not found:
            found["root"] = ("/", psutil.disk_usage("/"))  # in a container no device may be named
        return [(Resource(Metric.DISK, self._owner, as_name(place)), place, usage) for place, usage in found.values()]

    def _gpus(self) -> Iterator[tuple[Resource, float, float]]:
        """Yield resource, used and most of each GPU's utilisation and memory.

        Raises: TransientError where the tool is there and fails.
        """
        if (tool := shutil.which("nvidia-smi")) is None:
            return
        command = [tool, f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (subprocess.SubprocessError, OSError) as exc:
            raise TransientError(f"nvidia-smi failed: {type(exc).__name__}. Run it by hand.") from exc
        for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True):
            if len(row) != len(_GPU_FIELDS.split(",")):
                raise TransientError(f"nvidia-smi said '{','.join(row)[:120]}'. Run it by hand.")
            index, model, percent, used_mib, total_mib = row
            name = as_name(f"{index}/{model}")
            if _is_number(percent):
                yield Resource(Metric.GPU, self._owner, name), float(percent) / 100, 1.0
            if _is_number(used_mib) and _is_number(total_mib):
                yield Resource(Metric.GPU_MEMORY, self._owner, name), float(used_mib) * MIB, float(total_mib) * MIB


def _is_number(text: str) -> bool:
    """Whether a GPU knows it: it writes [N/A] otherwise."""
    return text.replace(".", "", 1).isdigit()
