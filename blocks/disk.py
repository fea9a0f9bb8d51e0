"""The disk of the state folder, and its twin."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from domain.errors import TransientError


@dataclass(frozen=True, slots=True)
class LocalDisk:
    """Fulfils `domain.ports.Disk` for the file system that holds a folder."""

    folder: Path
    free_bytes_min: int

    def free_bytes(self) -> int:
        """Raises: TransientError where the folder can't be asked."""
        try:
            return shutil.disk_usage(self.folder).free
        except OSError as exc:
            raise TransientError(f"The disk of {self.folder} can't be asked: {exc}. Look at `slipway status`.") from exc


@dataclass(slots=True)
class MemoryDisk:
    """Fulfils `domain.ports.Disk` for tests, which set how much is free."""

    free: int = 10**12
    free_bytes_min: int = 2 * 10**9

    def free_bytes(self) -> int:
        return self.free
