"""A release's story, told from the ledger: what `slipway history` prints.

Pure: entries in, lines out. Intents (`*.begun`) are left out where their outcome follows; one without an outcome is
what somebody at night looks for, so it stays and says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.ledger import Entry
from domain.release import short


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a story: when, what, where, by whom, and what there is to say of it."""

    at: datetime
    kind: str
    place: str
    actor: str
    said: str


def tell_story(entries: Sequence[Entry]) -> list[Line]:
    """Turn entries, oldest first, into lines."""
    return [
        Line(
            at=entry.at,
            kind=entry.kind,
            place="/".join(part for part in (entry.event.environment, entry.event.site) if part),
            actor=entry.event.actor,
            said=_say_data(entry),
        )
        for index, entry in enumerate(entries)
        if not _is_followed(entry, entries[index + 1 :])
    ]


def _is_followed(entry: Entry, later: Sequence[Entry]) -> bool:
    """Whether an intent has its outcome further down."""
    noun, _, done = entry.kind.partition(".")
    if done != "begun":
        return False
    mine = (entry.event.run, entry.event.environment, entry.event.site, entry.event.release)
    return any(
        other.kind.startswith(f"{noun}.")
        and not other.kind.endswith(".begun")
        and (other.event.run, other.event.environment, other.event.site, other.event.release) == mine
        for other in later
    )


_SHOWN = (
    "reason",
    "refusal",
    "cause",
    "decision",
    "comment",
    "what",
    "result",
    "shares",
    "verdict",
    "step",
    "gate",
    "deadline",
    "commit",
    "requester",
    "previous",
    "settings",
    "to",
    "severity",
    "title",
    "error",
    "verified",
)


def _say_data(entry: Entry) -> str:
    said = [f"{key}={_plain(entry.data[key])}" for key in _SHOWN if entry.data.get(key) not in (None, "", [], {})]
    if entry.kind.endswith(".begun"):
        said.append("(no outcome yet)")
    return " ".join(said)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}:{item}" for key, item in value.items())  # pyright: ignore[reportUnknownVariableType]
    text = " ".join(str(value).split())
    return short(text) if len(text) in (40, 64) and text.isalnum() else text[:160]
