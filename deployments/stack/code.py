"""Immutable copies of our own code: what flows run, although the working tree changes under a release that waits.

A suspended flow starts again from the top, perhaps days later. It must find the code that it began with, so every
`slipway up` puts the five rooms under the hash of their content, and deployments point there.
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from blocks.installation import write_private

ROOMS = ("domain", "blocks", "tasks", "flows", "deployments")
PREFECT_FILE = "prefect.yaml"
DATA_LOCK = "requirements/data.txt"
"""What reads, judges and archives data runs in environments that flows make from this."""
RENDERED_FILE = "prefect.rendered.yaml"
WORKER_FILES = ("slipway_worker.py", "slipway_process.py")

HOME = Path(__file__).resolve().parent.parent.parent


def code_hash(home: Path = HOME) -> str:
    """Hash every file of the rooms and `prefect.yaml`, by path and content: 16 hex digits."""
    digest = hashlib.sha256()
    for path in _files(home):
        digest.update(f"{path.relative_to(home)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def copy_code(codes: Path, home: Path = HOME) -> Path:
    """Copy the rooms to `codes/<hash>/`, whole or not at all, with `prefect.yaml` filled in beside them.

    Effect: may be repeated; a copy that is there is not touched.
    """
    place = codes / code_hash(home)
    if place.exists():
        return place
    draft = codes / f".{place.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    for path in _files(home):
        copy = draft / path.relative_to(home)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    # The original stays beside it, so that the copy has the hash of what it was copied from.
    text = (draft / PREFECT_FILE).read_text().replace("{{ $SLIPWAY_CODES }}", str(codes))
    (draft / RENDERED_FILE).write_text(text.replace("{{ $SLIPWAY_CODE }}", place.name))
    draft.rename(place)
    return place


def steps_folder(codes: Path) -> Path:
    """The folder from which the workers run; made and brought up to date. It outlives the copies of the code."""
    folder = codes / "steps"
    for path in (folder, codes / "runs"):
        path.mkdir(exist_ok=True)
    for name in WORKER_FILES:
        source, copy = Path(__file__).with_name(name), folder / name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            write_private(copy, source.read_text(), mode=0o644)
    return folder


def workers_hash(codes: Path) -> str:
    """Hash what the workers run from: only a change of it is a reason to start them anew."""
    folder = steps_folder(codes)
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in WORKER_FILES)).hexdigest()[:16]


def prune_code(codes: Path, *, current: Path, unfinished_runs: Collection[str]) -> list[str]:
    """Remove copies that nothing needs; those stay that are current or that an unfinished run began with."""
    needed = {current.name, "runs", "steps"}
    for note in (codes / "runs").iterdir():
        if note.name in unfinished_runs:
            needed.add(note.read_text())
        elif not note.name.startswith("."):
            note.unlink()
    gone = [place for place in codes.iterdir() if place.name not in needed]
    for place in gone:
        shutil.rmtree(place, ignore_errors=True)
    return [place.name for place in gone]


def _files(home: Path) -> Iterator[Path]:
    for room in ROOMS:
        for path in sorted((home / room).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path
    yield home / PREFECT_FILE
    if (home / DATA_LOCK).exists():
        yield home / DATA_LOCK
