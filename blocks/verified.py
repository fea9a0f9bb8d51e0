"""Become a release's program, but only while its bytes are those that were recorded when it was installed.

Supervisor starts this file (a copy in the state folder, any user, only the standard library) before every instance:
also the one that it restarts by itself, and the one after a reboot. `blocks/local_releases.py` writes the records and
uses the same listing, so that both see the same.
"""

import hashlib
import json
import os
import signal
import sys


def list_tree(folder: str) -> dict[str, str]:
    """List files and links below a folder by relative path: permissions and SHA-256, or what a link points to.

    Folders themselves are not listed; other things (sockets, devices) count as what they are, and never match.
    """
    found: dict[str, str] = {}
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        for entry in os.scandir(os.path.join(folder, inner)):  # noqa: PTH118 - pathlib doubles this program's start time
            path = f"{inner}/{entry.name}" if inner else entry.name
            if entry.is_symlink():
                found[path] = f"-> {os.readlink(entry.path)}"  # noqa: PTH115
            elif entry.is_dir():
                waiting.append(path)
            elif entry.is_file():
                found[path] = f"{entry.stat().st_mode & 0o7777:04o} {hash_file(entry.path)}"
            else:
                found[path] = "neither file nor link"
    return found


def hash_file(path: str) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_difference(expected: dict[str, str], found: dict[str, str]) -> str:
    """Say in which path two listings differ first, and how; empty when they do not."""
    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            return f"{path} is missing"
        if path not in expected:
            return f"{path} was added"
        if expected[path] != found[path]:
            return f"{path} was changed"
    return ""


def check_record(record: str, sha256: str, folders: tuple[str, ...] = ()) -> str:
    """Compare an installed release with its record, all folders of it unless some are named; empty when all is well."""
    if hash_file(record) != sha256:
        return f"the record {record} was changed"
    with open(record, encoding="utf-8") as file:  # noqa: PTH123
        trees: dict[str, dict[str, str]] = json.load(file)["trees"]
    for folder in folders or sorted(trees):
        place = os.path.join(record.removesuffix(".json"), folder)  # noqa: PTH118
        if difference := first_difference(trees[folder], list_tree(place)):
            return f"{folder}/{difference}"
    return ""


def main(record: str, sha256: str, *command: str) -> None:
    """Check what an instance runs from (`source`, `venv`), then become its command."""
    difference = check_record(record, sha256, ("source", "venv"))
    if difference:
        sys.exit(f"slipway: not started, since this release is not what was installed: {difference}")
    # ignored by what isolates us, and handed down to us; the instance has to hear it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execvpe(command[0], list(command), os.environ)


if __name__ == "__main__":
    main(*sys.argv[1:])
