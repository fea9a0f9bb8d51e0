"""Releases installed on this machine that expire: folder, environments and records, one release at a time.

Called by `cleanup`. A release that runs on any site, could be rolled back to or is on its way is protected; one that is
being installed holds its lock, and stays.
"""

import fcntl
import re
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from blocks.expirables_listed import remove_listed
from domain.ports_cleanup import Expirable, Removed

_RELEASE = re.compile(r"^\.?([0-9a-f]{64})(\..*)?$")


class InstalledExpirables:
    """Fulfils `domain.ports_cleanup.Expirables` for `STATE/releases/`.

    Args:
        protect: says why a release has to stay, by its digest; asked anew right before each removal.
    """

    def __init__(self, folder: Path, protect: Callable[[], Mapping[str, str]]) -> None:
        self._folder, self._protect = folder, protect

    def read(self) -> Sequence[Expirable]:
        kept, found = self._protect(), list[Expirable]()
        for digest, parts in self._releases().items():
            at = max(path.lstat().st_mtime for path in parts)
            size = sum(_size(path) for path in parts)
            found.append(Expirable(digest, size, datetime.fromtimestamp(at, UTC), kept.get(digest, "")))
        return sorted(found, key=lambda one: (one.at, one.key))

    def _releases(self) -> dict[str, list[Path]]:
        """What lies there of each release; its lock alone is nothing."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            name = _RELEASE.match(path.name)
            if name and path.suffix != ".lock":
                found.setdefault(name[1], []).append(path)
        return found

    def remove(self, keys: Sequence[str]) -> Removed:
        return remove_listed(self.read(), keys, self._remove)

    def _remove(self, digest: str) -> str:
        """Remove records first: from then on the release is not there, whatever is left of it; says why it stays."""
        with _locked(self._folder / f".{digest}.lock") as is_ours:
            if not is_ours:
                return "it is being installed"
            if reason := self._protect().get(digest, ""):
                return reason
            parts = self._releases().get(digest, [])
            try:
                for path in sorted(parts, key=lambda path: path.is_dir()):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            except OSError as exc:
                return str(exc)[:200]
        return ""


@contextmanager
def _locked(path: Path) -> Generator[bool]:
    """Take the lock that whoever installs the release takes; False where somebody has it."""
    with path.open("w") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(one.lstat().st_size for one in path.rglob("*") if one.is_symlink() or not one.is_dir())
