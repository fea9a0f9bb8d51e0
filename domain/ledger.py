"""The ledger's facts: what an event is, how entries are chained, and how a broken link is found.

An event is what we say; an entry is an event with its place in the chain. Written by `tasks/recording.py` through the
`Ledger` port, read by everybody. This module never talks to a database.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

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
    return encode_fields(
        seq=seq,
        at=encode_time(at),
        kind=event.kind,
        application=event.application,
        environment=event.environment,
        site=event.site,
        release=event.release,
        actor=event.actor,
        run=event.run,
        key=event.key,
        data=canonical_json(event.data),
    )


_encode_value = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def encode_fields(
    *,
    seq: int,
    at: str,
    kind: str,
    application: str,
    environment: str,
    site: str,
    release: str,
    actor: str,
    run: str,
    key: str | None,
    data: str,
) -> str:
    """Write the fields of an entry in canonical JSON, with time and `data` taken as the text that they are.

    So a reader of stored rows hashes what is stored: other white space or a key twice in `data` is another entry. By
    hand, in the order of the names: a million entries are walked through here.
    """
    text = _encode_value
    return (
        f'{{"actor":{text(actor)},"application":{text(application)},"at":{text(at)},"data":{data},'
        f'"environment":{text(environment)},"key":{"null" if key is None else text(key)},"kind":{text(kind)},'
        f'"release":{text(release)},"run":{text(run)},"seq":{seq},"site":{text(site)}}}'
    )


def hash_encoded(prev_hash: str, encoded: str) -> str:
    """Chain an encoded entry to the one before it: sha256 of the previous hash, a line feed and the encoded entry."""
    return sha256_hex(f"{prev_hash}\n{encoded}")


def hash_entry(prev_hash: str, seq: int, at: datetime, event: Event) -> str:
    """Hash an entry in its place of the chain."""
    return hash_encoded(prev_hash, encode_entry(seq, at, event))


_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


def as_stored(event: Event) -> Event:
    """The event as any reader will see it: what JSON makes of `data`, tuples as lists and keys as text.

    What UTF-8 or PostgreSQL can't hold (half a surrogate pair, U+0000) becomes U+FFFD: what somebody typed is no
    reason to lose an entry. Raises: ValueError for NaN and infinity, TypeError for what JSON does not know.
    """
    fields = (event.kind, event.application, event.environment, event.site, event.release, event.actor, event.run)
    kind, application, environment, site, release, actor, run = map(_keepable, fields)
    return Event(
        kind=kind,
        application=application,
        environment=environment,
        site=site,
        release=release,
        actor=actor,
        run=run,
        key=_keepable(event.key),
        data=_keepable(json.loads(canonical_json(event.data))),
    )


def _keepable(value: Any) -> Any:
    if isinstance(value, str):
        return _NO_TEXT.sub("\ufffd", value)
    if isinstance(value, list):
        return [_keepable(item) for item in cast(list[Any], value)]
    if isinstance(value, dict):
        return {_keepable(key): _keepable(item) for key, item in cast(dict[str, Any], value).items()}
    return value


def chain_entry(last: Entry | None, at: datetime, event: Event) -> Entry:
    """Make the next entry after `last` (None for the first)."""
    seq = last.seq + 1 if last else 1
    prev_hash = last.hash if last else GENESIS
    return Entry(seq=seq, at=at, event=event, prev_hash=prev_hash, hash=hash_entry(prev_hash, seq, at, event))


@dataclass(frozen=True, slots=True)
class Link:
    """An entry as the chain sees it: the text that its hash covers, exactly as it is stored, and the two hashes."""

    seq: int
    encoded: str
    prev_hash: str
    hash: str

    @property
    def holds(self) -> bool:
        return self.hash == hash_encoded(self.prev_hash, self.encoded)


def link_of(entry: Entry) -> Link:
    """The link that an entry is."""
    encoded = encode_entry(entry.seq, entry.at, entry.event)
    return Link(seq=entry.seq, encoded=encoded, prev_hash=entry.prev_hash, hash=entry.hash)


Finding = Literal["", "changed", "missing", "inserted", "replaced", "rewritten", "cut"]


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a walk over the chain found; `broken_at` is the first sequence that does not hold, None when all do.

    `entries` and `head` say how far it held.
    """

    entries: int
    head: str
    broken_at: int | None = None
    reason: str = ""
    finding: Finding = ""


class Walk:
    """A walk along the chain, one link at a time, oldest first, that remembers two hashes and no more."""

    def __init__(self) -> None:
        self.entries, self.head = 0, GENESIS
        self._before_head = ""

    def step(self, link: Link) -> ChainReport | None:
        """Take one link; returns what does not hold."""
        expected = self.entries + 1
        if link.seq > expected:
            return self.broken("missing", expected, f"entry {expected} is missing; the next one there is {link.seq}")
        if link.seq < expected:
            return self.broken("inserted", link.seq, f"entry {link.seq} is there twice, or has no place in the chain")
        if link.prev_hash != self.head and link.holds and self.entries:
            # its own hash covers what it continues, so it is the one before that is not what it was
            if link.prev_hash == self._before_head:
                return self.broken(
                    "inserted", expected - 1, f"entry {expected - 1} was inserted: {expected} continues {expected - 2}"
                )
            reason = f"entry {expected - 1} was replaced: entry {expected} continues another one"
            return self.broken("replaced", expected - 1, reason)
        if link.prev_hash != self.head or not link.holds:
            return self.broken("changed", expected, f"entry {expected} does not match its own hash: it was changed")
        self.entries, self._before_head, self.head = expected, self.head, link.hash
        return None

    def broken(self, finding: Finding, at: int, reason: str) -> ChainReport:
        """Report what was found, and how far the chain held before."""
        return ChainReport(self.entries, self.head, broken_at=at, reason=reason, finding=finding)

    def whole(self) -> ChainReport:
        return ChainReport(self.entries, self.head)


def verify_chain(links: Iterable[Entry | Link]) -> ChainReport:
    """Walk the whole chain, oldest first, and stop at the first link that does not hold."""
    walk = Walk()
    for one in links:
        if found := walk.step(link_of(one) if isinstance(one, Entry) else one):
            return found
    return walk.whole()
