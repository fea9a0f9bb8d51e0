"""A release's bundle: one reproducible archive of the commit's files and its locked wheels.

Packed by `ci`, unpacked by targets. An uncompressed tar with sorted names, no times and no owners: the same input gives
the same bytes. `source/...` is the repository after the build, `wheels/*.whl` what it needs, installed off-line.
"""

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from blocks.confinement import is_inside, place_links, write_new_file
from domain.errors import ConfigError, InvariantError
from domain.release import Bundle

SOURCE = "source"
WHEELS = "wheels"
_PIECE_BYTES = 1 << 20
_UNPACKED_BYTES_MAX = 8 * 1024**3
_MEMBERS_MAX = 250_000


def pack_bundle(archive: Path, *, source: Path, wheels: Sequence[Path]) -> Bundle:
    """Write the archive; the same files give the same bytes, whatever their times, owners and modes.

    Effect: replaces `archive`, whole or not at all. Empty folders are left out.
    Raises: ConfigError where the source holds a link that leads outside, or something that is no file.
    """
    draft = archive.with_name(f".{archive.name}.draft")
    members = {f"{WHEELS}/{wheel.name}": wheel for wheel in wheels}
    members |= {f"{SOURCE}/{path.relative_to(source).as_posix()}": path for path in _files_in(source)}
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(members):
            _add(tar, name, members[name], root=source)
    bundle = Bundle(sha256=sha256_of(draft), size_bytes=draft.stat().st_size)
    draft.replace(archive)
    return bundle


def verify_bundle(archive: Path, bundle: Bundle) -> None:
    """Compare an archive with what was pinned. Raises: InvariantError with both digests."""
    found = sha256_of(archive)
    if found != bundle.sha256:
        raise InvariantError(
            f"Bundle {archive.name} has SHA-256 {found}, pinned was {bundle.sha256}. Fetch it again; do not start it."
        )


def unpack_bundle(archive: Path, directory: Path, *, part: str = "") -> None:
    """Unpack into a new or empty folder, and never outside of it.

    Args:
        part: `source` or `wheels`, to unpack only that; empty for both.

    Raises: ConfigError where a member is no file or link, leads outside, comes twice, or the whole is too large.
    """
    directory.mkdir(parents=True, exist_ok=True)
    links: list[tuple[str, str]] = []
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in _bounded(tar):
                if part and not member.name.startswith(f"{part}/"):
                    continue
                if member.issym():
                    links.append((member.name, member.linkname))
                elif member.isreg():
                    content = _read_member(tar, member)
                    write_new_file(directory, member.name, content, executable=bool(member.mode & stat.S_IXUSR))
                else:
                    raise ConfigError(f"Bundle member '{member.name[:200]}' is no file and no link. Pack it again.")
    except (tarfile.TarError, EOFError, UnicodeError) as exc:
        raise ConfigError(f"{archive.name} is not a whole bundle: {exc}. Fetch it again.") from exc
    place_links(directory, links)


def sha256_of(path: Path) -> str:
    """Hash a file; 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_in(folder: Path) -> Iterator[Path]:
    """Walk files and links below a folder; links are not followed."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files_in(Path(entry.path))
        else:
            yield Path(entry.path)


def _add(tar: tarfile.TarFile, name: str, path: Path, *, root: Path) -> None:
    member = _member(name)
    found = path.lstat().st_mode
    if stat.S_ISLNK(found):
        member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
        if Path(member.linkname).is_absolute() or not is_inside(root, path):
            raise ConfigError(f"Link '{name}' points to '{member.linkname[:200]}', outside the repository. Remove it.")
        tar.addfile(member)
        return
    if not stat.S_ISREG(found):
        raise ConfigError(f"'{name}' is no file, folder or link. Remove what the build left there.")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        member.size = os.fstat(descriptor).st_size
        member.mode = 0o755 if found & stat.S_IXUSR else 0o644
        tar.addfile(member, file)


def _member(name: str) -> tarfile.TarInfo:
    """A member without time and owner."""
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise ConfigError(f"File name {name!r} is not UTF-8. Rename it.") from exc
    member = tarfile.TarInfo(name)
    member.mtime = member.uid = member.gid = 0
    member.mode = 0o777
    return member


def _bounded(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    size_bytes = 0
    for number, member in enumerate(tar):
        size_bytes += member.size
        if number >= _MEMBERS_MAX or size_bytes > _UNPACKED_BYTES_MAX:
            raise ConfigError(f"The bundle has more than {_MEMBERS_MAX} members or {_UNPACKED_BYTES_MAX} bytes.")
        yield member


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(member)
    assert file is not None
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
