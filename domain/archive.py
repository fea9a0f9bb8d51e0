"""Archives of rows: where they lie, and which of them a run that died has left midway."""

from collections.abc import Sequence

from domain.errors import ConfigError
from domain.ledger import Entry


def prefix_of(application: str, environment: str, policy: str, run: str, number: int) -> str:
    """Where one batch of one run of a policy lies; the same batch lies there again. Ends in a slash."""
    return f"{application}/{environment or '-'}/{policy}/{run}/{number:05}/"


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
