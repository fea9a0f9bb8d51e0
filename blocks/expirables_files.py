"""Files and folders that expire: rotated logs, and what builds kept. Removed one by one, never outside of their folder.

Called by `cleanup`. What a program still writes to, and what was used lately, is protected.
"""

import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from blocks.expirables_listed import remove_listed
from domain.ports_cleanup import Expirable, Removed


class FileExpirables:
    """Fulfils `domain.ports_cleanup.Expirables` for the entries that `find` lists below a folder.

    Args:
        find: lists files or folders, each one thing that is removed as a whole.
        protect: says why an entry has to stay; empty: it may go.
    """

    def __init__(
        self, folder: Path, find: Callable[[Path], Iterable[Path]], protect: Callable[[Path], str] = lambda path: ""
    ) -> None:
        self._folder = folder.resolve()
        self._find = find
        self._protect = protect

    def read(self) -> Sequence[Expirable]:
        found = [one for path in self._find(self._folder) if (one := self._look_at(path)) is not None]
        return sorted(found, key=lambda one: (one.at, one.key))

    def remove(self, keys: Sequence[str]) -> Removed:
        return remove_listed(self.read(), keys, lambda key: self._remove(self._folder / key))

    def _look_at(self, path: Path) -> Expirable | None:
        try:
            state = path.lstat()
            size = state.st_size if not path.is_dir() or path.is_symlink() else _size(path)
        except OSError:
            return None  # gone meanwhile
        at = datetime.fromtimestamp(state.st_mtime, UTC)
        return Expirable(str(path.relative_to(self._folder)), size, at, self._protect(path))

    def _remove(self, path: Path) -> str:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as exc:
            return str(exc)[:200]
        return ""


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


def rotated_logs(folder: Path) -> Iterable[Path]:
    """Logs that were turned over (`name.log.1`): nobody writes to them any more."""
    return (path for path in folder.rglob("*.log.*") if path.is_file() and path.suffix[1:].isdigit())


def kept_environments(folder: Path) -> Iterable[Path]:
    """Environments and wheels of locks; the mark `.complete` is made anew at each use, so its age is the last use's."""
    return (path.parent for kind in ("wheels", "environments") for path in folder.glob(f"{kind}/*/.complete"))
