"""The scan for secrets finds them in every form; where it finds nothing, there is something to be had from that."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secret_scan import Scanner, Secret, forms, scan_files

VALUE = b"s3cr3t/va+lue=with?signs"


@given(st.binary(min_size=8, max_size=40), st.binary(max_size=7), st.binary(max_size=7))
def test_base64_is_found_at_any_place_in_a_longer_text(value: bytes, before: bytes, after: bytes):
    texts = forms(value)
    for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
        assert texts[f"{name} at {len(before) % 3}"] in encode(before + value + after)


@pytest.mark.parametrize("form", sorted(forms(VALUE)))
def test_each_form_is_found_and_named_without_the_value(form: str):
    found = Scanner([Secret("password", VALUE)]).find(b"log line: " + forms(VALUE)[form] + b" end", "x.log")
    assert [str(one).startswith("x.log: password as ") for one in found] == [True]
    assert not any(text.decode() in str(one) for one in found for text in forms(VALUE).values())


def test_what_is_allowed_there_is_not_reported_and_what_is_short_is_not_sought():
    scanner = Scanner([Secret("password", VALUE), Secret("short", b"1234")])
    assert scanner.find(VALUE, "x", allowed=frozenset({"password"})) == set()
    assert scanner.find(b"1234", "x") == set()


def test_a_secret_across_two_pieces_of_a_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "big").write_bytes(b"x" * ((8 << 20) - 5) + VALUE)
    assert Scanner([Secret("password", VALUE)]).find_in_file(tmp_path / "big", "big")


def test_new_places_are_scanned_and_holders_must_be_closed(tmp_path: Path):
    (tmp_path / "new" / "place").mkdir(parents=True)
    (tmp_path / "new" / "place" / "notes").write_bytes(VALUE)
    (tmp_path / "credentials.json").write_bytes(VALUE)
    (tmp_path / "credentials.json").chmod(0o600)
    (tmp_path / "s3-identities.json").write_bytes(VALUE)
    (tmp_path / "s3-identities.json").chmod(0o644)
    found = scan_files(Scanner([Secret("password", VALUE)]), tmp_path)
    assert sorted(map(str, found)) == [
        "new/place/notes: password as itself",
        "s3-identities.json: secrets as a file that others may read",
    ]
