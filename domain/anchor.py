"""Copies of the ledger's head, kept where nobody can change them, and what they prove about the chain.

A chain of hashes alone shows neither a cut tail nor a chain that was computed anew: both are whole again. An anchor
(sequence, hash, time) written while the chain was true shows either. Written hourly and after each release
(`tasks/anchor.py`), compared by `slipway ledger verify`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from domain.errors import ConfigError
from domain.ledger import ChainReport, Link, Walk, encode_time

_NAME = re.compile(r"heads/(\d{12})-([0-9a-f]{64})-(\d{8}T\d{12}Z)")
_TIME = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True, slots=True)
class Anchor:
    """The chain's head as it was at a time: an aware datetime, of the writing."""

    seq: int
    hash: str
    at: datetime

    @property
    def name(self) -> str:
        """The name under which it is kept. It holds everything, so that a list of names is enough to read all."""
        return f"heads/{self.seq:012d}-{self.hash}-{self.at.astimezone(UTC).strftime(_TIME)}"

    def as_dict(self) -> dict[str, int | str]:
        return {"seq": self.seq, "hash": self.hash, "at": encode_time(self.at)}


def read_anchor(name: str) -> Anchor:
    """Read an anchor back from its name. Raises: ConfigError where it is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"'{name[:120]}' is not the name of an anchor. Find out who wrote it there.")
    return Anchor(int(match[1]), match[2], datetime.strptime(match[3], _TIME).replace(tzinfo=UTC))


def is_anchor(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Proof:
    """What a walk with anchors proved: the chain's report, and the newest of the anchors that agree with it."""

    chain: ChainReport
    agreeing: int = 0
    newest: Anchor | None = None


def verify_anchored(links: Iterable[Link], anchors: Sequence[Anchor]) -> Proof:
    """Walk the chain, oldest first, comparing it with every anchor on the way; stops at the first thing found.

    Read the anchors before the chain: one written meanwhile would lie beyond the end of what was read.
    """
    walk, waiting = Walk(), sorted(anchors, key=lambda anchor: (anchor.seq, anchor.at), reverse=True)
    agreeing, newest = 0, None
    for link in links:
        found = walk.step(link)
        while found is None and waiting and waiting[-1].seq <= link.seq:
            anchor = waiting.pop()
            if (anchor.seq, anchor.hash) != (link.seq, link.hash):
                found = _rewritten(walk, anchor, newest)
            else:
                agreeing, newest = agreeing + 1, anchor
        if found is not None:
            return Proof(found, agreeing, newest)
    return Proof(_cut(walk, waiting[0]) if waiting else walk.whole(), agreeing, newest)


def _rewritten(walk: Walk, anchor: Anchor, agreeing: Anchor | None) -> ChainReport:
    since = f"entry {agreeing.seq}, the last that an anchor confirms" if agreeing else "the beginning"
    reason = (
        f"entry {anchor.seq} is not the one anchored on {anchor.at:%Y-%m-%d %H:%M:%S} UTC (hash {anchor.hash[:12]}…): "
        f"the chain was computed anew from some entry after {since}"
    )
    return walk.broken("rewritten", anchor.seq, reason)


def _cut(walk: Walk, newest: Anchor) -> ChainReport:
    reason = (
        f"entry {walk.entries + 1} is missing: the ledger ends at {walk.entries}, but its head was entry {newest.seq} "
        f"on {newest.at:%Y-%m-%d %H:%M:%S} UTC"
    )
    return walk.broken("cut", walk.entries + 1, reason)
