"""The ledger's facts: what an event is, how entries are chained, and how a broken link is found.

An event is what we say; an entry is an event with its place in the chain. Written by `tasks/recording.py` through the
`Ledger` port, read by everybody. This module never talks to a database.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from domain.canonical import canonical_json, sha256_hex

GENESIS = "0" * 64
"""The `prev_hash` of the first entry."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was meant or that happened.

    `kind` is `noun.past_participle`; the intent before an effect is `noun.begun`, its failure `noun.failed`.
    `key` makes an append idempotent: a second event with the same key is the first one. Empty fields mean "not about
    one". `data` holds only what JSON knows, and never a secret.
    """

    kind: str
    application: str = ""
    environment: str = ""
    site: str = ""
    release: str = ""
    actor: str = "slipway"
    run: str = ""
    key: str | None = None
    data: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in its place: sequence from 1 without gaps, time of appending (UTC), and the two hashes of the chain."""

    seq: int
    at: datetime
    event: Event
    prev_hash: str
    hash: str

    @property
    def kind(self) -> str:
        return self.event.kind

    @property
    def data(self) -> dict[str, Any]:
        return self.event.data


def encode_time(at: datetime) -> str:
    """Write an aware time in UTC with microseconds: `2026-01-31T12:00:00.000000Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def encode_entry(seq: int, at: datetime, event: Event) -> str:
    """Write what the hash covers, besides the previous hash: every field of the entry, in canonical JSON."""
    return canonical_json(
        {
            "seq": seq,
            "at": encode_time(at),
            "kind": event.kind,
            "application": event.application,
            "environment": event.environment,
            "site": event.site,
            "release": event.release,
            "actor": event.actor,
            "run": event.run,
            "key": event.key,
            "data": event.data,
        }
    )


def hash_entry(prev_hash: str, seq: int, at: datetime, event: Event) -> str:
    """Chain an entry to the one before it: sha256 of the previous hash, a line feed and the encoded entry."""
    return sha256_hex(f"{prev_hash}\n{encode_entry(seq, at, event)}")


def chain_entry(last: Entry | None, at: datetime, event: Event) -> Entry:
    """Make the next entry after `last` (None for the first)."""
    seq = last.seq + 1 if last else 1
    prev_hash = last.hash if last else GENESIS
    return Entry(seq=seq, at=at, event=event, prev_hash=prev_hash, hash=hash_entry(prev_hash, seq, at, event))


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a walk over the chain found; `broken_at` is the first sequence that does not hold, None when all do."""

    entries: int
    head: str
    broken_at: int | None = None
    reason: str = ""


def verify_chain(entries: Iterable[Entry]) -> ChainReport:
    """Walk the whole chain, oldest first, and stop at the first link that does not hold."""
    expected_seq, prev_hash, count = 1, GENESIS, 0
    for entry in entries:
        reason = ""
        if entry.seq != expected_seq:
            reason = f"sequence {expected_seq} is missing; found {entry.seq}"
        elif entry.prev_hash != prev_hash:
            reason = f"entry {entry.seq} does not continue the hash of entry {expected_seq - 1}"
        elif entry.hash != hash_entry(entry.prev_hash, entry.seq, entry.at, entry.event):
            reason = f"entry {entry.seq} does not match its own hash: its content was changed"
        if reason:
            return ChainReport(entries=count, head=prev_hash, broken_at=expected_seq, reason=reason)
        prev_hash, expected_seq, count = entry.hash, expected_seq + 1, count + 1
    return ChainReport(entries=count, head=prev_hash)
