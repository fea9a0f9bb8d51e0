"""Bundles: the same input gives the same bytes, and nothing gets out of its folder."""

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.bundle import pack_bundle, sha256_of, unpack_bundle, verify_bundle
from blocks.confinement import inside
from domain.errors import ConfigError, InvariantError
from domain.release import Bundle


def make_tree(folder: Path, *, time_s: int, umask: int) -> Path:
    before = os.umask(umask)
    try:
        (folder / "bin").mkdir(parents=True)
        (folder / "empty").mkdir()
        (folder / "bin/run").write_text("#!/bin/sh\n")
        (folder / "bin/run").chmod(0o777 & ~umask)
        (folder / ("long" * 60)).write_text("a long name")
        (folder / "ümläut").write_text("not ASCII")
        (folder / "a.txt").write_text("a")
        (folder / "link").symlink_to("bin/run")
    finally:
        os.umask(before)
    for path in folder.rglob("*"):
        os.utime(path, (time_s, time_s), follow_symlinks=False)
    return folder


def test_the_same_files_give_the_same_bytes_whatever_their_times_and_modes(tmp_path: Path):
    first = make_tree(tmp_path / "1", time_s=1_000_000_000, umask=0o022)
    second = make_tree(tmp_path / "2", time_s=1_700_000_000, umask=0o077)
    wheel = tmp_path / "x-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    one = pack_bundle(tmp_path / "1.tar", source=first, wheels=[wheel])
    two = pack_bundle(tmp_path / "2.tar", source=second, wheels=[wheel])
    assert one == two and (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    assert one == Bundle(sha256_of(tmp_path / "1.tar"), (tmp_path / "1.tar").stat().st_size)


def test_the_bytes_of_a_bundle_are_what_they_were_in_every_version(tmp_path: Path):
    """Golden: a release pinned by an older Slipway must still be found by its digest."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a").write_text("a")
    bundle = pack_bundle(tmp_path / "x.tar", source=tmp_path / "source", wheels=[])
    assert bundle.sha256 == "a8471fbece99013db7d4eb38fd9346a902afc12d493b15dfcd8b7c295bd17ae8"


def test_what_was_packed_comes_back(tmp_path: Path):
    tree = make_tree(tmp_path / "1", time_s=1, umask=0o022)
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(b"wheel")
    pack_bundle(tmp_path / "x.tar", source=tree, wheels=[wheel])
    unpack_bundle(tmp_path / "x.tar", tmp_path / "out")
    assert (tmp_path / "out/wheels/x.whl").read_bytes() == b"wheel"
    assert (tmp_path / "out/source/bin/run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/source/a.txt").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "out/source/link").readlink() == Path("bin/run")
    again = pack_bundle(tmp_path / "y.tar", source=tmp_path / "out/source", wheels=[tmp_path / "out/wheels/x.whl"])
    assert again.sha256 == sha256_of(tmp_path / "x.tar")


def test_one_part_can_be_unpacked_alone(tmp_path: Path):
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(b"wheel")
    pack_bundle(tmp_path / "x.tar", source=make_tree(tmp_path / "1", time_s=1, umask=0o022), wheels=[wheel])
    unpack_bundle(tmp_path / "x.tar", tmp_path / "out", part="source")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["source"]


def test_a_changed_byte_is_found(tmp_path: Path):
    bundle = pack_bundle(tmp_path / "x.tar", source=make_tree(tmp_path / "1", time_s=1, umask=0o022), wheels=[])
    verify_bundle(tmp_path / "x.tar", bundle)
    content = bytearray((tmp_path / "x.tar").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(InvariantError, match="pinned was"):
        verify_bundle(tmp_path / "x.tar", bundle)


@pytest.mark.parametrize("to", ["/etc/passwd", "../../outside"])
def test_a_link_that_leads_outside_is_not_packed(tmp_path: Path, to: str):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/link").symlink_to(to)
    with pytest.raises(ConfigError, match="outside"):
        pack_bundle(tmp_path / "x.tar", source=tmp_path / "source", wheels=[])
    assert not (tmp_path / "x.tar").exists()


def test_what_is_no_file_is_not_packed(tmp_path: Path):
    (tmp_path / "source").mkdir()
    os.mkfifo(tmp_path / "source/pipe")
    with pytest.raises(ConfigError, match="pipe"):
        pack_bundle(tmp_path / "x.tar", source=tmp_path / "source", wheels=[])


def member(name: str, type: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = type, to
    return made


HOSTILE = {
    "an absolute path": [member("/tmp/slipway-escaped")],
    "a path upwards": [member("source/../../escaped")],
    "an empty part": [member("source//x")],
    "an absolute link": [member("source/l", tarfile.SYMTYPE, "/etc")],
    "a link upwards": [member("source/l", tarfile.SYMTYPE, "../../..")],
    "a link by way of another": [
        member("a/l", tarfile.SYMTYPE, "."),
        member("b", tarfile.SYMTYPE, "a/l/../../escaped"),
    ],
    "a file through a link": [member("l", tarfile.SYMTYPE, "."), member("l/x")],
    "a link through a link": [member("l", tarfile.SYMTYPE, "."), member("l/x", tarfile.SYMTYPE, "y")],
    "a file twice": [member("x"), member("x")],
    "a hard link": [member("h", tarfile.LNKTYPE, "/etc/passwd")],
    "a device": [member("d", tarfile.CHRTYPE)],
    "a pipe": [member("p", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing_outside(tmp_path: Path, kind: str):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for hostile in HOSTILE[kind]:
            tar.addfile(hostile)
    (tmp_path / "in").mkdir()
    with pytest.raises(ConfigError):
        unpack_bundle(tmp_path / "x.tar", tmp_path / "in/out")
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "in/out")]
    assert {path.name for path in outside} == {"x.tar", "in"}
    assert not Path("/tmp/slipway-escaped").exists()


@pytest.mark.parametrize(("end", "instead"), [(700, b""), (0, b"no tar at all" * 100), (0, b"")])
def test_half_an_archive_is_named_as_such(tmp_path: Path, end: int, instead: bytes):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a").write_text("a" * 2000)
    pack_bundle(tmp_path / "x.tar", source=tmp_path / "source", wheels=[])
    (tmp_path / "x.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:end] + instead)
    with pytest.raises(ConfigError, match="not a whole bundle"):
        unpack_bundle(tmp_path / "x.tar", tmp_path / "out")


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["..", ".", "", "a", "b c", "\0", "é"]), min_size=1, max_size=5).map("/".join))
def test_a_path_is_inside_or_refused(path: str):
    folder = Path("/some/folder")
    try:
        place = inside(folder, path)
    except ConfigError:
        return
    assert os.path.normpath(place) == str(place) and place.is_relative_to(folder) and place != folder
