"""The ledger as one file that anybody can verify without us: entries, anchors, a script, and what they should be.

Written by `slipway ledger export`; the script is `deployments/verify_export.py`, in the bundle as it is here. What the
files hold is in docs/reference/ledger.md.
"""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from domain.anchor import Anchor
from domain.canonical import canonical_json
from domain.errors import ConfigError, InvariantError
from domain.ledger import Link, Walk

VERIFIER = Path(__file__).with_name("verify_export.py")
_PIECE_BYTES = 1 << 20

_README = """# An exported ledger of Slipway

{entries} entries, up to the hash `{head}`. Verify it with any Python from 3.9 on, without Slipway and without network:

    python3 verify_export.py BUNDLE.tar.gz --head {entries}:{head}

Better than the head above is the one that was noted when this was exported: this file could have been made anew.

* `events.jsonl`: one entry a line, in the order of the chain: `{{"entry":...,"hash":"...","prev_hash":"..."}}`. Each
  hash covers the previous hash, a line feed, and the bytes of the entry exactly as they stand there.
* `anchors.jsonl`: copies of the chain's head from the bucket under Object Lock{anchored}.
* `manifest.json`: how many entries, the head, and the SHA-256 of the other files.
* `verify_export.py`: the script; read it, it is short.
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: how many entries, and the hash of the last."""

    entries: int
    head: str


def write_export(path: Path, links: Iterable[Link], anchors: Sequence[Anchor] | None) -> Exported:
    """Write a bundle of the chain; `anchors` is None where they could not be read.

    Effect: one file, readable by its owner only. Raises: ConfigError where it exists; InvariantError, and no file,
    where the chain does not hold.
    """
    if path.exists():
        raise ConfigError(f"{path} exists. Name another file; an export is never overwritten.")
    draft = path.with_name(f".{path.name}.part")
    try:
        with tempfile.TemporaryFile(dir=path.parent) as events:
            exported = _write_events(events, links)
            _write_bundle(draft, events, exported, anchors)
        draft.rename(path)
    except FileNotFoundError as exc:
        raise ConfigError(f"There is no folder {path.parent}. Make it, or name another file.") from exc
    finally:
        draft.unlink(missing_ok=True)
    return exported


def write_line(link: Link) -> str:
    """One line of `events.jsonl`: the entry byte by byte as it was hashed, then the two hashes."""
    return f'{{"entry":{link.encoded},"hash":"{link.hash}","prev_hash":"{link.prev_hash}"}}\n'


def _write_events(file: IO[bytes], links: Iterable[Link]) -> Exported:
    walk = Walk()
    for link in links:
        if found := walk.step(link):
            raise InvariantError(
                f"The ledger is broken at entry {found.broken_at}: {found.reason}. Nothing was exported. "
                "Run `slipway ledger verify`."
            )
        file.write(write_line(link).encode())
    return Exported(walk.entries, walk.head)


def _write_bundle(path: Path, events: IO[bytes], exported: Exported, anchors: Sequence[Anchor] | None) -> None:
    anchored = "" if anchors is not None else "; none here, they could not be read"
    small = {
        "README.md": _README.format(entries=exported.entries, head=exported.head, anchored=anchored).encode(),
        "anchors.jsonl": "".join(f"{canonical_json(anchor.as_dict())}\n" for anchor in anchors or ()).encode(),
        "verify_export.py": VERIFIER.read_bytes(),
    }
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in small.items()}
    manifest = {
        "format": 1,
        "entries": exported.entries,
        "head": exported.head,
        "anchors": None if anchors is None else len(anchors),
        "sha256": {**sums, "events.jsonl": _sha256_of(events)},
    }
    small["manifest.json"] = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
    folder = f"slipway-ledger-{exported.entries}"
    path.touch(mode=0o600)
    with tarfile.open(path, "w:gz", compresslevel=6) as bundle:
        for name, content in sorted(small.items()):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode = len(content), 0o644
            bundle.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo(f"{folder}/events.jsonl")
        entry.size, entry.mode = events.seek(0, io.SEEK_END), 0o644
        events.seek(0)
        bundle.addfile(entry, events)


def _sha256_of(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()
