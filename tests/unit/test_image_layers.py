"""Rewriting a saved image: the time goes, everything else stays."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from blocks.image_layers import EPOCH, EPOCH_S, normalise

HASHED_PYC = b"\xa7\r\r\n\x01\x00\x00\x00" + bytes(8) + b"code"
DATED_PYC = b"\xa7\r\r\n\x00\x00\x00\x00" + bytes(8) + b"code"


def _layer(files: dict[str, bytes], *, mtime: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as layer:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode, entry.uid = len(content), mtime, 0o755, 10001
            entry.pax_headers = {"mtime": f"{mtime}.5", "SCHILY.xattr.user.note": "kept"}
            layer.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("app/again.py")
        link.type, link.linkname, link.mtime = tarfile.LNKTYPE, "app/desk.py", mtime
        layer.addfile(link)
    return buffer.getvalue()


def _save(path: Path, layers: list[bytes], *, created: str, container: str) -> Path:
    """What `docker save` writes: layers, a configuration, a manifest."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "container": container,
        "container_config": {"Hostname": container},
        "config": {"Cmd": ["python3"], "Hostname": container, "Image": f"sha256:{container}"},
        "history": [
            {"created": created, "created_by": f"COPY dir:{hashlib.sha256(created.encode()).hexdigest()} in /"}
        ],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }
    members = {f"{index}/layer.tar": layer for index, layer in enumerate(layers)}
    members["config.json"] = json.dumps(config).encode()
    manifest = [
        {"Config": "config.json", "RepoTags": None, "Layers": [f"{index}/layer.tar" for index in range(len(layers))]}
    ]
    members["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


FILES = {"app/desk.py": b"print('hello')", "app/a.pyc": DATED_PYC, "app/b.pyc": HASHED_PYC}


def _two_builds(folder: Path) -> list[Path]:
    base = _layer({"bin/sh": b"shell"}, mtime=1)
    written: list[Path] = []
    for number, (created, mtime) in enumerate((("2026-01-31T12:00:00Z", 1_000), ("2027-01-31T12:00:00Z", 2_000))):
        saved = _save(
            folder / f"saved-{number}.tar", [base, _layer(FILES, mtime=mtime)], created=created, container=f"c{number}"
        )
        written.append(folder / f"written-{number}.tar")
        normalise(saved, into=written[-1], base_layers=1, tag="desk:new")
    return written


def test_builds_that_differ_in_time_and_container_only_become_the_same_bytes(tmp_path: Path) -> None:
    first, second = (path.read_bytes() for path in _two_builds(tmp_path))
    assert first == second


def test_the_base_stays_as_it_is_and_what_was_built_loses_its_time_and_dated_byte_code(tmp_path: Path) -> None:
    written = _two_builds(tmp_path)[0]
    with tarfile.open(written) as image:
        manifest = json.loads(image.extractfile("manifest.json").read())[0]  # pyright: ignore[reportOptionalMemberAccess]
        config = json.loads(image.extractfile(manifest["Config"]).read())  # pyright: ignore[reportOptionalMemberAccess]
        base, built = (image.extractfile(name).read() for name in manifest["Layers"])  # pyright: ignore[reportOptionalMemberAccess]
    assert base == _layer({"bin/sh": b"shell"}, mtime=1)
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in (base, built)]
    assert config["created"] == EPOCH and config["config"] == {"Cmd": ["python3"]}
    assert manifest["RepoTags"] == ["desk:new"]
    with tarfile.open(fileobj=io.BytesIO(built)) as layer:
        entries = {entry.name: entry for entry in layer}
        assert set(entries) == {"app/desk.py", "app/b.pyc", "app/again.py"}
        assert {entry.mtime for entry in entries.values()} == {EPOCH_S}
        assert entries["app/desk.py"].mode == 0o755 and entries["app/desk.py"].uid == 10001
        assert entries["app/desk.py"].pax_headers == {"SCHILY.xattr.user.note": "kept"}
        assert entries["app/again.py"].linkname == "app/desk.py"


def test_the_id_is_the_hash_of_the_configuration(tmp_path: Path) -> None:
    saved = _save(tmp_path / "saved.tar", [_layer(FILES, mtime=5)], created="2026-01-31T12:00:00Z", container="c")
    digest = normalise(saved, into=tmp_path / "written.tar", base_layers=0, tag="desk:new")
    with tarfile.open(tmp_path / "written.tar") as image:
        name = next(name for name in image.getnames() if name.endswith(".json") and name != "manifest.json")
        content = image.extractfile(name).read()  # pyright: ignore[reportOptionalMemberAccess]
    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}" == f"sha256:{name.removesuffix('.json')}"
