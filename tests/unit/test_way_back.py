"""Which way back a break-glass rollback takes, from what one machine knows by itself."""

from datetime import UTC, datetime

import pytest

from domain.break_glass import WayBack, adopt_entry, choose_way_back, plan_closing
from domain.errors import RefusedError
from domain.ledger import Entry, Event, chain_entry, verify_chain
from domain.rollout import OpenRollout

A, B, C = "a" * 64, "b" * 64, "c" * 64
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def settled(*releases: str) -> list[Entry]:
    entries: list[Entry] = []
    for release in releases:
        event = Event("rollout.completed", "desk", "production", release=release)
        entries.append(chain_entry(entries[-1] if entries else None, NOON, event))
    return entries


def choose(
    *,
    wanted: str = "",
    live: tuple[str, ...] = (),
    blocked: str = "",
    midway: str = "",
    serving: tuple[str, ...] = (),
    running: tuple[str, ...] = (),
) -> WayBack:
    return choose_way_back(
        wanted=wanted,
        settled=settled(*live),
        blocked={blocked: "slow"} if blocked else {},
        open_here=[OpenRollout("run-1", "desk", "production", midway, "", "rollout")] if midway else [],
        serving=serving,
        running=running,
    )


@pytest.mark.parametrize(
    ("known", "way"),
    [
        ({"live": (A, B), "serving": (B,)}, WayBack(A, B, B)),
        ({"live": (A, B), "midway": C, "serving": (B, C)}, WayBack(B, C, B)),
        ({"live": (A, B), "serving": (C,)}, WayBack(B, C, B)),
        ({"live": (A, B), "serving": ()}, WayBack(A, B, B)),
        ({"live": (A, B), "serving": (B,), "wanted": A}, WayBack(A, B, B)),
        ({"live": (A, B), "midway": C, "serving": (B,), "wanted": A}, WayBack(A, C, B)),
        ({"live": (A, B), "serving": (A, B)}, WayBack(A, B, B)),
        ({"live": (A, B), "serving": (A, B), "blocked": B}, WayBack(A, B, B)),
        ({"serving": (B,), "running": (A, B)}, WayBack(A, B, B)),
        ({"live": (A, B, C), "blocked": B, "serving": (C,)}, WayBack(A, C, C)),
    ],
    ids=[
        "one-before",
        "canary",
        "copy-is-behind",
        "nobody-serves",
        "named",
        "named-midway",
        "half-way",
        "half-way-blocked",
        "no-record",
        "blocked",
    ],
)
def test_the_way_back(known: dict[str, str], way: WayBack):
    assert choose(**known) == way


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"live": (A,), "serving": (A,)}, "no earlier release"),
        ({"live": (A, B), "wanted": A, "blocked": A}, "is blocked: slow"),
        ({"serving": (B,), "running": (A, B, C)}, "Name the release"),
        ({"serving": (B,), "running": (B,)}, "Name the release"),
    ],
)
def test_where_there_is_no_way_back_it_says_what_to_name(known: dict[str, str], words: str):
    with pytest.raises(RefusedError, match=words):
        choose(**known)


def test_an_adopted_entry_keeps_its_own_time_and_place_and_happens_once():
    journal = [
        chain_entry(None, NOON, Event("rollback.begun", "desk", "production", release=A, run="act", actor="ann"))
    ]
    adopted = adopt_entry(journal[0])
    assert adopted.key == "break-glass:act:1" == adopt_entry(journal[0]).key
    assert adopted.data["break_glass"] == {"at": "2026-01-31T12:00:00.000000Z", "seq": 1, "hash": journal[0].hash}
    assert verify_chain([chain_entry(None, NOON, adopted)]).broken_at is None


def test_rollouts_that_were_open_end_in_their_own_name_with_the_cause():
    begun = chain_entry(None, NOON, Event("rollback.begun", "desk", "production", release=A, run="act", actor="ann"))
    done = chain_entry(
        begun, NOON, Event("rollback.completed", "desk", "production", release=A, run="act", data={"verified": "yes"})
    )
    mine = OpenRollout("act", "desk", "production", A, B, "rollback")
    others = [
        OpenRollout("run-1", "desk", "production", C, B, "rollout"),
        OpenRollout("run-2", "desk", "production", A, B, "rollback"),
    ]
    closing = plan_closing([begun, done], [mine, *others])
    assert [(event.run, event.kind) for event in closing] == [
        ("run-1", "rollout.rolled_back"),
        ("run-2", "rollback.failed"),
    ]
    assert closing[0].data == {"to": A, "cause": "ended by a break-glass rollback by ann", "verified": "yes"}
    assert "cut off" in plan_closing([begun], others)[0].data["verified"]
    assert plan_closing([], others) == []
