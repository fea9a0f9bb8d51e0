"""Releases installed on this machine: `STATE/releases/<digest>/` with bundle, source, wheels and environments.

Used by `LocalTarget` of every site; the sites of a machine share what is installed, never what runs. A release is there
when its record (`<digest>.json`) is: it is written last, and what an interrupted installation left is done anew.
Nothing of a release runs here: wheels are unpacked, not executed.
"""

import fcntl
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from blocks import verified
from blocks.bundle import SOURCE, WHEELS, unpack_bundle, verify_bundle
from blocks.confinement import inside, is_inside
from blocks.installation import Installation, write_private
from blocks.offline_installer import OfflineInstaller
from blocks.verified import check_record, first_difference, hash_file, list_tree
from domain.application import FILE, parse_application
from domain.errors import ConfigError, InvariantError, TransientError
from domain.lock import Lock, merge_locks, parse_lock
from domain.ports import ObjectStore
from domain.release import Manifest, bundle_key, read_manifest, short

VENV = "venv"
BUNDLE = "bundle.tar"


@dataclass(frozen=True, slots=True)
class LocalReleases:
    """The releases of an installation. `open_store` is asked only when bytes are missing."""

    installation: Installation
    open_store: Callable[[], ObjectStore]

    def prepare(self, manifest: Manifest) -> None:
        """Fetch, verify, unpack and install a release, off-line; being there already is no work.

        Effect: files only; may be repeated, at any time and from several processes.
        Raises: InvariantError where the bytes are not the pinned ones; ConfigError where the bundle can't be installed;
            TransientError where the store does not answer.
        """
        with self._locked(manifest.digest) as installer, _writing():
            if not self.record(manifest).exists():
                self._install(manifest, installer)

    def verify(self, manifest: Manifest) -> None:
        """Compare bundle with manifest, source and wheels with the bundle, everything with the record.

        Raises: ConfigError where the release is not prepared; InvariantError naming the first difference.
        """
        record = self._need(manifest)
        archive = self.folder(manifest) / BUNDLE
        difference = _difference(record) or _attempt(lambda: verify_bundle(archive, manifest.bundle))
        difference = difference or _attempt(lambda: self._compare_with_bundle(manifest))
        if difference:
            raise InvariantError(
                f"Release {short(manifest.digest)} of {manifest.application} is not what was pinned: {difference}. "
                f"Find out who changed it. Then remove {self.folder(manifest)} and {record.name} beside it, and roll "
                "it out again: it is fetched anew."
            )

    def manifest_of(self, release: str) -> Manifest:
        """The manifest of a prepared release, by its digest.

        Raises: ConfigError where it is not prepared; InvariantError where the record is not of that release.
        """
        record = self.installation.state / "releases" / f"{release}.json"
        try:
            manifest = read_manifest(json.loads(record.read_text())["manifest"])
        except FileNotFoundError as exc:
            raise ConfigError(f"Release {short(release)} is not on this machine. Prepare it first.") from exc
        except (OSError, KeyError, TypeError, ValueError) as exc:
            raise InvariantError(f"{record} can't be read: {exc}. Remove it, then roll the release out again.") from exc
        if manifest.digest != release:
            raise InvariantError(f"{record} is of another release. Remove it, then roll the release out again.")
        return manifest

    def ensure_check(self) -> Path:
        """The program that verifies a release before each start, where other users can read it."""
        check = self.installation.folder("releases") / "verified.py"
        text = Path(verified.__file__).read_text()
        if not check.exists() or check.read_text() != text:
            write_private(check, text, mode=0o644)
        return check

    def read_file(self, manifest: Manifest, path: str) -> str:
        """Read a text file of the source.

        Raises: ConfigError where the release is not prepared, or has no such text file.
        """
        self._need(manifest)
        source = self.folder(manifest) / SOURCE
        place = inside(source, path)
        if not is_inside(source, place):
            raise ConfigError(f"'{path}' of release {short(manifest.digest)} leads outside of it. Remove that link.")
        try:
            return place.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"Release {short(manifest.digest)} has no text file '{path}'. Commit it.") from exc

    def extra_environment(self, manifest: Manifest, requirements: str) -> Path:
        """Install a lock of the release over the release's own, in an environment beside it; returns its folder.

        Raises: as `prepare` and `verify`.
        """
        name = f"{VENV}-{requirements.replace('/', '-')}"
        lock = merge_locks(self._own_lock(manifest), self._read_lock(manifest, requirements))
        record = self.record(manifest).with_suffix(f".{name}.json")
        folder = record.with_suffix("")
        with self._locked(manifest.digest) as installer, _writing():
            if not record.exists():
                shutil.rmtree(folder, ignore_errors=True)
                installer.make_environment(folder / VENV, lock, wheels=self.folder(manifest) / WHEELS)
                _write_record(record, {VENV: folder / VENV}, manifest=manifest)
        if difference := _difference(record):
            raise InvariantError(
                f"{folder.name} is not what was installed: {difference}. Remove {folder} and {record.name}."
            )
        return folder / VENV

    def folder(self, manifest: Manifest) -> Path:
        return self.installation.state / "releases" / manifest.digest

    def record(self, manifest: Manifest) -> Path:
        return self.folder(manifest).with_suffix(".json")

    def _need(self, manifest: Manifest) -> Path:
        record = self.record(manifest)
        if not record.exists():
            raise ConfigError(
                f"Release {short(manifest.digest)} of {manifest.application} is not on this machine. Prepare it first."
            )
        return record

    def _install(self, manifest: Manifest, installer: OfflineInstaller) -> None:
        folder = self.folder(manifest)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        key = bundle_key(manifest.application, manifest.bundle.sha256)
        self.open_store().get(key, folder / BUNDLE, sha256=manifest.bundle.sha256)
        verify_bundle(folder / BUNDLE, manifest.bundle)
        _unpack(folder / BUNDLE, folder)
        installer.make_environment(folder / VENV, self._own_lock_in(folder / SOURCE), wheels=folder / WHEELS)
        installer.compile(folder / SOURCE)
        trees = {name: folder / name for name in (SOURCE, WHEELS, VENV)}
        _write_record(self.record(manifest), trees, manifest=manifest)

    def _own_lock(self, manifest: Manifest) -> Lock:
        self._need(manifest)
        return self._own_lock_in(self.folder(manifest) / SOURCE)

    def _own_lock_in(self, source: Path) -> Lock:
        """The lock that `slipway.toml` names; the empty one where the commit has no such file."""
        name = parse_application(_read(source / FILE), file=FILE).build.requirements
        place = inside(source, name)
        return parse_lock(_read(place), file=name) if is_inside(source, place) and place.is_file() else Lock()

    def _read_lock(self, manifest: Manifest, requirements: str) -> Lock:
        return parse_lock(self.read_file(manifest, requirements), file=requirements)

    def _compare_with_bundle(self, manifest: Manifest) -> str:
        """Compare what was unpacked with the pinned archive; what Python compiled from it stands in the record only."""
        folder = self.folder(manifest)
        expected = _list_bundle(folder / BUNDLE)
        found = {
            f"{name}/{path}": content
            for name in (SOURCE, WHEELS)
            for path, content in list_tree(str(folder / name)).items()
            if "__pycache__/" not in f"{name}/{path}"
        }
        kept = {path: content for path, content in expected.items() if "__pycache__/" not in path}
        return first_difference(kept, found)

    @contextmanager
    def _locked(self, digest: str) -> Generator[OfflineInstaller]:
        """Let one process at a time work on a release; a dead one, and its commands, let go by themselves."""
        folder = self.installation.folder("releases")
        folder.chmod(0o755)
        with (folder / f".{digest}.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield OfflineInstaller(self.installation.python, hold=guard.fileno())


def _difference(record: Path) -> str:
    """What differs from a record; empty when nothing does."""
    return _attempt(lambda: check_record(str(record), hash_file(str(record))))


def _attempt(compare: Callable[[], str | None]) -> str:
    """Compare; what can't be read, or is no longer pinned, differs as well."""
    try:
        return compare() or ""
    except InvariantError as exc:
        return str(exc).rstrip(".")
    except (OSError, KeyError, ValueError, tarfile.TarError) as exc:
        return f"{type(exc).__name__}: {exc}"


@contextmanager
def _writing() -> Generator[None]:
    """Turn what the file system refuses into an error of ours."""
    try:
        yield
    except OSError as exc:
        raise TransientError(f"The release could not be written: {exc}. Free disk space, then try again.") from exc


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack to `source` and `wheels`, which must be all that there is; unprivileged users may read both."""
    draft = folder / "unpacked"
    unpack_bundle(archive, draft)
    others = sorted({path.name for path in draft.iterdir()} - {SOURCE, WHEELS})
    if others:
        raise ConfigError(f"The bundle holds '{others[0]}' besides {SOURCE} and {WHEELS}. Build the release again.")
    for name in (SOURCE, WHEELS):
        (draft / name).mkdir(exist_ok=True)
        (draft / name).rename(folder / name)
        for root, _, _ in os.walk(folder / name):
            Path(root).chmod(0o755)
    draft.rmdir()
    folder.chmod(0o755)


def _list_bundle(archive: Path) -> dict[str, str]:
    """List an archive as `list_tree` lists what was unpacked from it."""
    listed: dict[str, str] = {}
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            if member.issym():
                listed[member.name] = f"-> {member.linkname}"
            elif file := tar.extractfile(member):
                mode = 0o755 if member.mode & 0o100 else 0o644
                listed[member.name] = f"{mode:04o} {sha256(file.read()).hexdigest()}"
    return listed


def _write_record(record: Path, trees: Mapping[str, Path], *, manifest: Manifest) -> None:
    listed = {name: list_tree(str(folder)) for name, folder in trees.items()}
    write_private(record, json.dumps({"manifest": manifest.as_dict(), "trees": listed}, sort_keys=True), mode=0o644)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The release has no text file '{path.name}'. Commit it.") from exc
