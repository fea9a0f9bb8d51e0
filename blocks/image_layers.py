"""Makes a container image reproducible: the same files give the same bytes, whenever and wherever they were built.

A build writes the time into its layers and its configuration. Here both are written again with one fixed time. Byte
code that holds the time of its source is left out (Python compiles such files when it loads them); byte code that is
checked by hash stays. Used by `blocks/images_docker.py` on the archive that `docker save` makes.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from domain.errors import InvariantError

EPOCH_S = 315_532_800
"""1980-01-01T00:00:00Z: the earliest time that every archive format can hold."""

EPOCH = "1980-01-01T00:00:00Z"

COPIED = re.compile(r"\b(dir|file|multi):[0-9a-f]{64}")
PYC_HEADER_BYTES = 16
CHUNK_BYTES = 1 << 20


def normalise(archive: Path, *, into: Path, base_layers: int, tag: str) -> str:
    """Write a saved image again so that it depends on nothing but its content.

    Args:
        archive: what `docker save` wrote, with one image in it.
        into: the archive to write, for `docker load`; a folder for drafts is made beside it.
        base_layers: how many layers, from the bottom, are the base image's; they stay as they are.
        tag: `repository:tag` that the image gets when it is loaded.

    Returns: the image's new id, `sha256:...`.
    """
    with tarfile.open(archive) as saved, tarfile.open(into, "w", format=tarfile.PAX_FORMAT) as written:
        entry = _read_json(saved, "manifest.json")[0]
        config = _read_json(saved, entry["Config"])
        diff_ids = list(config["rootfs"]["diff_ids"])
        names: list[str] = []
        for index, name in enumerate(entry["Layers"]):
            draft = into.with_name("layer.tar")
            with _open(saved, name) as layer, draft.open("wb") as file:
                _copy(layer, file) if index < base_layers else _rewrite_layer(layer, file)
            if index >= base_layers:
                diff_ids[index] = f"sha256:{_sha256_of(draft)}"
            names.append(f"{index:03d}-{diff_ids[index][7:19]}/layer.tar")
            written.add(draft, names[-1], filter=_plain)
            draft.unlink()
        encoded = json.dumps(_timeless(config, diff_ids), sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(encoded).hexdigest()
        _write(written, f"{digest}.json", encoded)
        manifest = [{"Config": f"{digest}.json", "RepoTags": [tag], "Layers": names}]
        _write(written, "manifest.json", json.dumps(manifest).encode())
    return f"sha256:{digest}"


def _timeless(config: dict[str, Any], diff_ids: Sequence[str]) -> dict[str, Any]:
    """The image's configuration without what only tells when and in which container it was built."""
    kept = {key: config[key] for key in ("architecture", "os", "variant", "author") if config.get(key)}
    runtime = {key: value for key, value in config["config"].items() if key not in ("Hostname", "Domainname", "Image")}
    history = [_timeless_step(step) for step in config.get("history", [])]
    return kept | {
        "created": EPOCH,
        "config": runtime,
        "history": history,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }


def _timeless_step(step: dict[str, Any]) -> dict[str, Any]:
    """One line of the history; the hash of what was copied covers times too, and the layers say it better."""
    created_by = COPIED.sub(r"\1", step.get("created_by", ""))
    return {**step, "created": EPOCH} | ({"created_by": created_by} if created_by else {})


def _rewrite_layer(layer: IO[bytes], file: IO[bytes]) -> None:
    """Copy a layer's entries in their order, each with the same time; leave dated byte code out."""
    with (
        tarfile.open(fileobj=layer, mode="r:*") as source,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for entry in source:
            content = source.extractfile(entry) if entry.isfile() else None
            if content is not None and entry.name.endswith(".pyc"):
                code = content.read()
                if _is_dated(code):
                    continue
                content = io.BytesIO(code)
            entry.mtime = EPOCH_S
            entry.pax_headers = {
                key: value for key, value in entry.pax_headers.items() if key not in ("mtime", "atime", "ctime")
            }
            target.addfile(entry, content)


def _is_dated(code: bytes) -> bool:
    """Whether compiled Python names its source's time (bit 0 of the flags unset) and not its hash. Source: PEP 552."""
    return len(code) < PYC_HEADER_BYTES or not code[4] & 1


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode = EPOCH_S, 0, 0, "", "", 0o644
    return entry


def _write(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(_plain(entry), io.BytesIO(content))


def _open(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """Open a member; one that is a link (the same layer twice) opens what it points to."""
    content = archive.extractfile(name)
    if content is None:
        raise InvariantError(f"The saved image lacks '{name}'. Report this with the engine's version.")
    return content


def _read_json(archive: tarfile.TarFile, name: str) -> Any:
    with _open(archive, name) as content:
        return json.load(content)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while chunk := source.read(CHUNK_BYTES):
        target.write(chunk)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
