"""What `slipway doctor` found: facts about one thing each, in the order in which one thing stands on another.

A finding is `well`, worth a `look`, `broken`, or `skipped` because what it stands on is broken. Only `broken` asks for
something to be done now.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from domain.ledger import GENESIS, Entry, hash_entry

State = Literal["well", "look", "broken", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: which check, by its name; also the anchor of its section in the documentation.
        state: how it is.
        found: what was found, with figures.
        command: what to run to mend it, or to see more; empty where all is well.
    """

    check: str
    state: State
    found: str
    command: str = ""


def first_broken(findings: Iterable[Finding]) -> Finding | None:
    """The first broken thing: what comes after it often is broken because of it. Reads no further."""
    return next((finding for finding in findings if finding.state == "broken"), None)


def find_break(entries: Sequence[Entry]) -> str:
    """Say what is wrong with a stretch of the ledger; empty where it is whole.

    Args:
        entries: neighbours, oldest first, of any length.
    """
    before: Entry | None = None
    for entry in entries:
        if before is not None and entry.seq != before.seq + 1:
            return f"entry {before.seq + 1} is missing"
        expected = before.hash if before else (GENESIS if entry.seq == 1 else entry.prev_hash)
        if entry.prev_hash != expected:
            return f"entry {entry.seq} does not continue the one before it"
        if entry.hash != hash_entry(entry.prev_hash, entry.seq, entry.at, entry.event):
            return f"entry {entry.seq} does not match its own hash"
        before = entry
    return ""
