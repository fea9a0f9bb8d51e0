"""Archives of rows: where they lie, and which of them a run that died has left midway."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from domain.canonical import sha256_hex
from domain.errors import ConfigError
from domain.ledger import Entry

AGE, NONE = "age", "none"
VERSION = "slipway_xmin"
"""The last column of every copy: which version of the row it is."""


def prefix_of(application: str, environment: str, policy: str, run: str, number: int) -> str:
    """Where one batch of one run of a policy lies; the same batch lies there again. Ends in a slash."""
    return f"{application}/{environment or '-'}/{policy}/{run}/{number:05}/"


def partition_prefix(application: str, environment: str, policy: str, run: str, partition: str) -> str:
    """Where a whole partition lies; of a run it is there once. Ends in a slash."""
    name = f"{plain_name(partition)}-{sha256_hex(partition.encode())[:8]}"
    return f"{application}/{environment or '-'}/{policy}/{run}/{name}/"


def file_key(prefix: str, table: str, digest: str, *, encryption: str) -> str:
    """The key of one file of an archive: told apart by its bytes, whatever its table is called."""
    return f"{prefix}{plain_name(table)}-{digest[:16]}.parquet{'.age' if encryption == AGE else ''}"


def list_key(key: str) -> str:
    """The key of the list of a file's rows: which ones they are, in which version."""
    return f"{key}.rows"


def plain_name(name: str) -> str:
    """A name for keys and files, without what these do not bear."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]


def encryption_of(manifest: Mapping[str, Any]) -> str:
    """How an archive is encrypted: `age`, or `none` where one of its files is not."""
    found = {str(one.get("encryption", NONE)) for one in manifest["tables"]}
    return found.pop() if len(found) == 1 else NONE


def manifest_key(prefix: str) -> str:
    """The key of an archive's manifest: it is written last, so that what has one is whole."""
    return f"{prefix}manifest.json"


def check_prefix(prefix: str, *, application: str, environment: str) -> str:
    """Take an archive's name as a person writes it. Raises: ConfigError where it is none of that place."""
    parts = prefix.strip("/").split("/")
    if len(parts) != 5 or parts[:2] != [application, environment or "-"] or ".." in parts or not all(parts):
        raise ConfigError(
            f"'{prefix}' is no archive of {application} in {environment or 'no environment'}. Take the prefix from "
            "`archive.written` in the ledger: application/environment/policy/run/number."
        )
    return "/".join(parts) + "/"


def find_unfinished(entries: Sequence[Entry], *, policy: str) -> list[str]:
    """Archives of a policy that were begun and whose rows were not deleted, oldest first.

    Args:
        entries: `archive.begun`, `archive.written` and `deletion.completed` of one place, oldest first.
    """
    found: dict[str, None] = {}
    for entry in entries:
        if entry.data.get("policy") != policy:
            continue
        prefix = str(entry.data["prefix"])
        if entry.kind == "deletion.completed":
            found.pop(prefix, None)
        else:
            found.setdefault(prefix)
    return list(found)
