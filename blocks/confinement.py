"""Writing files that somebody else named: never outside the folder, never through a link, never over another file.

Used for checkouts of commits and for bundles. Symbolic links are placed last, and only where their end stays inside.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from domain.errors import ConfigError


def inside(folder: Path, path: str) -> Path:
    """Find the place of a relative path in a folder.

    Raises: ConfigError where it is empty, absolute or leads outside.
    """
    parts = path.split("/")
    if path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise ConfigError(f"'{path[:200]}' is not a path inside the folder. Remove it from the repository.")
    return folder.joinpath(*parts)


def write_new_file(folder: Path, path: str, content: Iterable[bytes], *, executable: bool) -> None:
    """Write a file that was not there before, with mode 0644 or 0755 whatever the umask.

    Raises: ConfigError where the path leads outside or is there already.
    """
    place = inside(folder, path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except (FileExistsError, NotADirectoryError) as exc:
        raise ConfigError(f"'{path[:200]}' appears twice. Remove one of them from the repository.") from exc
    with os.fdopen(descriptor, "wb") as file:
        for piece in content:
            file.write(piece)
        os.fchmod(file.fileno(), 0o755 if executable else 0o644)


def place_links(folder: Path, links: Sequence[tuple[str, str]]) -> None:
    """Make symbolic links (path, what it points to) after all files; every end must be inside the folder.

    Raises: ConfigError where one leads outside, alone or by way of another, or where its path is taken.
    """
    placed = [(_place_link(folder, path, to), to) for path, to in links]
    # only now: a later link can change where an earlier one ends
    for place, to in placed:
        if not is_inside(folder, place):
            raise ConfigError(
                f"Link '{place.relative_to(folder)}' points to '{to[:200]}', outside the repository. Remove it."
            )


def _place_link(folder: Path, path: str, to: str) -> Path:
    place = inside(folder, path)
    if not to or "\0" in to or PurePosixPath(to).is_absolute():
        raise ConfigError(f"Link '{path[:200]}' points to '{to[:200]}', outside the repository. Make it relative.")
    above = [folder / parent for parent in PurePosixPath(path).parents]
    try:
        if any(parent.is_symlink() for parent in above):
            raise FileExistsError
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(to)
    except (FileExistsError, NotADirectoryError) as exc:
        raise ConfigError(f"'{path[:200]}' appears twice. Remove one of them from the repository.") from exc
    return place


def is_inside(folder: Path, place: Path) -> bool:
    """Whether what a path finally names lies in the folder; both are followed through all links."""
    root = os.path.realpath(folder)
    end = os.path.realpath(place)
    return end == root or end.startswith(root + os.sep)
