#!/usr/bin/env python3
"""Verify an exported ledger off-line, without Slipway: python3 verify_export.py BUNDLE.tar.gz [--head SEQ:HASH]

Needs Python 3.9 and its standard library, nothing else; reads the bundle in constant memory and never unpacks it. Each
line of events.jsonl holds an entry in its canonical form, byte by byte as it was hashed:

    {"entry":{...},"hash":"<64 hex digits>","prev_hash":"<64 hex digits>"}
    hash = sha256(prev_hash + "\\n" + the bytes of {...});  prev_hash of the first entry is 64 zeros

anchors.jsonl holds copies of the chain's head that were kept under Object Lock: {"at":"...","hash":"...","seq":7}.
A bundle can be made anew as a whole, anchors included. Only what you know from elsewhere stands against that: the head
that was printed at the export (--head), or the bucket itself.

Exit code: 0 all holds, 1 something does not (the first bad sequence is named), 2 wrong use or no bundle.
"""

import argparse
import hashlib
import json
import re
import sys
import tarfile
from typing import IO, Any

GENESIS = "0" * 64
FILES = {"README.md", "anchors.jsonl", "events.jsonl", "manifest.json", "verify_export.py"}
TAIL = re.compile(rb',"hash":"([0-9a-f]{64})","prev_hash":"([0-9a-f]{64})"\}\n')
HEAD_BYTES = len(b'{"entry":')
TAIL_BYTES = len(b',"hash":"","prev_hash":""}\n') + 128
LINE_BYTES_MAX = 64 << 20
Head = tuple[int, str]


class Broken(Exception):
    """Something does not hold; the message says what, with the first bad sequence."""


class Bundle:
    """The files of a bundle, each there exactly once, and nothing else."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in archive:
            name = member.name.rpartition("/")[2]
            if not member.isfile() or name not in FILES or name in self._members:
                raise Broken(f"the bundle holds {member.name[:120]!r}, which does not belong there")
            self._members[name] = member
        if missing := sorted(FILES - set(self._members)):
            raise Broken(f"the bundle lacks {', '.join(missing)}")

    def open(self, name: str) -> IO[bytes]:
        file = self._archive.extractfile(self._members[name])
        assert file is not None
        return file

    def sha256(self, name: str) -> str:
        return hashlib.sha256(self.open(name).read()).hexdigest()


def verify(bundle: Bundle, head: Head | None) -> str:
    """Verify everything that the bundle says; returns what holds. Raises: Broken."""
    manifest: dict[str, Any] = json.load(bundle.open("manifest.json"))
    anchors = read_anchors(bundle.open("anchors.jsonl"))
    heads: dict[int, set[str]] = {}
    for seq, digest in [*anchors, *([head] if head else [])]:
        heads.setdefault(seq, set()).add(digest)
    count, last, events = walk(bundle.open("events.jsonl"), heads)
    sums = {name: bundle.sha256(name) for name in FILES - {"events.jsonl", "manifest.json"}}
    for name, found in sorted({**sums, "events.jsonl": events}.items()):
        if manifest["sha256"].get(name) != found:
            raise Broken(f"{name} is not the file that the manifest names: its SHA-256 is {found}")
    told = (manifest["entries"], manifest["head"], manifest["anchors"] or 0)
    if told != (count, last, len(anchors)):
        raise Broken(f"the manifest says {told}, found were {(count, last, len(anchors))}")
    says = [f"The chain holds: {count} entries, head {last}."]
    says.append(f"It agrees with {len(anchors)} anchors{' and with the head that you gave' if head else ''}.")
    if manifest["anchors"] is None:
        says.append("The anchors could not be read at the export: a chain computed anew shows only with --head.")
    return "\n".join(says)


def walk(lines: IO[bytes], heads: dict[int, set[str]]) -> tuple[int, str, str]:
    """Follow the chain, comparing it with the heads known; returns its length, its head, the SHA-256 of the file."""
    count, last, digest, furthest = 0, GENESIS, hashlib.sha256(), max(heads, default=0)
    while line := lines.readline(LINE_BYTES_MAX):
        digest.update(line)
        last = follow(line, count + 1, last)
        count += 1
        if heads.get(count, {last}) != {last}:
            raise Broken(f"entry {count} is not the one that was anchored: the chain was computed anew, up to there")
    if furthest > count:
        raise Broken(f"entry {count + 1} is missing: the tail was cut; an anchor knows entry {furthest}")
    return count, last, digest.hexdigest()


def follow(line: bytes, seq: int, last: str) -> str:
    """Check one line against the hash before it; returns its own."""
    tail = TAIL.fullmatch(line[-TAIL_BYTES:])
    if tail is None or not line.startswith(b'{"entry":'):
        raise Broken(f"entry {seq} is not a line of the form that is documented")
    encoded, found, previous = line[HEAD_BYTES:-TAIL_BYTES], tail[1].decode(), tail[2].decode()
    try:
        known = json.loads(encoded)["seq"]
    except (ValueError, KeyError, TypeError):
        raise Broken(f"entry {seq} is not JSON with a sequence") from None
    if known != seq:
        raise Broken(f"entry {seq} is missing: entry {str(known)[:20]} stands in its place")
    if hashlib.sha256(previous.encode() + b"\n" + encoded).hexdigest() != found:
        raise Broken(f"entry {seq} does not match its own hash: it was changed")
    if previous != last:
        raise Broken(f"entry {seq - 1} was replaced: entry {seq} continues another one")
    return found


def read_anchors(lines: IO[bytes]) -> list[Head]:
    anchors: list[Head] = []
    for number, line in enumerate(lines, start=1):
        try:
            anchor = json.loads(line)
            seq, digest = int(anchor["seq"]), str(anchor["hash"])
        except (ValueError, KeyError, TypeError):
            seq, digest = 0, ""
        if seq < 1 or not re.fullmatch("[0-9a-f]{64}", digest):
            raise Broken(f"line {number} of anchors.jsonl is no anchor")
        anchors.append((seq, digest))
    return anchors


def read_head(text: str) -> Head:
    seq, _, digest = text.partition(":")
    if not seq.isdigit() or not re.fullmatch("[0-9a-f]{64}", digest):
        raise argparse.ArgumentTypeError("give SEQ:HASH, as the export printed it")
    return int(seq), digest


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify an exported ledger off-line, without Slipway.")
    parser.add_argument("bundle")
    parser.add_argument("--head", type=read_head, metavar="SEQ:HASH", help="the head that you know from elsewhere")
    given = parser.parse_args()
    try:
        with tarfile.open(given.bundle, "r:gz") as archive:
            print(verify(Bundle(archive), given.head))
    except Broken as exc:
        print(f"BROKEN: {exc}.")
        return 1
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as exc:
        print(f"This is no whole bundle of a ledger: {str(exc)[:200]}.")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
