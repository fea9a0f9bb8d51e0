"""Locked packages in memory: the twin of `blocks/packages_pip.py`. Its wheels are bytes that a test hands over."""

import sys
from collections.abc import Mapping
from pathlib import Path

from domain.canonical import sha256_hex
from domain.errors import ConfigError
from domain.lock import Lock


class MemoryPackages:
    """Fulfils `domain.ports.Packages` for tests; `files` maps a requirement to its wheel's name and bytes."""

    def __init__(self, folder: Path, files: Mapping[str, tuple[str, bytes]] = {}) -> None:
        self._folder = folder
        self.files = dict(files)

    def wheels(self, lock: Lock) -> list[Path]:
        found: list[Path] = []
        for package in lock.packages:
            if package.requirement not in self.files:
                raise ConfigError(f"No matching distribution for {package.requirement}.")
            name, content = self.files[package.requirement]
            if f"sha256:{sha256_hex(content)}" not in package.hashes:
                raise ConfigError(f"The bytes of {name} do not match the lock.")
            place = self._folder / name
            place.write_bytes(content)
            found.append(place)
        return sorted(found)

    def environment(self, lock: Lock) -> Path:
        self.wheels(lock)
        folder = self._folder / f"environment-{sha256_hex(lock.text)[:12]}"
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        if not (folder / "bin" / "python").exists():
            (folder / "bin" / "python").symlink_to(sys.executable)
        return folder
