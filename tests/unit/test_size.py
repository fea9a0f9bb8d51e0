"""How large an environment is: changed part by part, read from the ledger, and who may change it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ConfigError, RefusedError
from domain.ledger import Entry, Event, chain_entry
from domain.load_policy import LoadPolicy
from domain.scaling import (
    SizeShown,
    explain_size,
    find_size_authority,
    open_questions,
    refuse_unauthorised_size,
)
from domain.service import Limits
from domain.size import MIB, Size, change_size, closed_scale, open_scales, read_size_of, settled_size

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
POLICY = LoadPolicy("desk", "production", 2, 8, 0.5, 100.0)

sizes = st.builds(
    Size,
    instances=st.none() | st.integers(1, 64),
    memory_bytes=st.none() | st.integers(32 * MIB, 10**12),
    cpu_share=st.none() | st.floats(0.05, 256),
    workers=st.none() | st.integers(1, 64),
)


def entries(*events: tuple[str, str, dict[str, Any]]) -> list[Entry]:
    found: list[Entry] = []
    for kind, run, data in events:
        event = Event(kind, "desk", "production", run=run, actor="ann", data=data)
        found.append(chain_entry(found[-1] if found else None, NOW, event))
    return found


@given(size=sizes)
def test_a_size_comes_back_from_the_ledger_as_it_was(size: Size) -> None:
    assert read_size_of(size.as_dict()) == size
    assert settled_size(entries(("scale.completed", "r", {"size": size.as_dict()}))) == size


@given(now=sizes, change=sizes)
def test_what_is_not_named_stays_and_nothing_twice_is_once(now: Size, change: Size) -> None:
    made = change_size(now, **change.as_dict())
    for name in ("instances", "memory_bytes", "cpu_share", "workers"):
        wanted = getattr(change, name)
        assert getattr(made, name) == (getattr(now, name) if wanted is None else wanted)
    assert change_size(made, **change.as_dict()) == made


def test_zero_is_what_slipway_toml_says() -> None:
    assert change_size(Size(4, 100 * MIB, 0.5, 3), instances=0, memory_bytes=0, cpu_share=0, workers=0) == Size()
    assert Size().filled(instances=2, workers=1) == Size(2, None, None, 1)
    assert Size(5, workers=3).filled(instances=2, workers=1) == Size(5, None, None, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("instances", 65),
        ("instances", -2),
        ("memory_bytes", 5),
        ("cpu_share", 0.01),
        ("workers", 65),
        ("cpu_share", 1e9),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name_with_the_bounds(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} = .* is not possible. Give .* or 0 for none"):
        change_size(Size(), **{name: value})


@pytest.mark.parametrize(
    ("wanted", "found", "says"),
    [
        (Limits(), Limits(), ""),
        (Limits(), Limits(1, 1.0), ""),
        (Limits(100 * MIB), Limits(100 * MIB - 4096), ""),
        (Limits(100 * MIB), Limits(), "memory_bytes is not limited instead of 104857600"),
        (Limits(100 * MIB), Limits(50 * MIB), "memory_bytes is 52428800"),
        (Limits(cpu_share=0.5), Limits(cpu_share=2.0), "cpu_share is 2.0 instead of 0.5"),
    ],
)
def test_a_limit_that_is_not_in_force_is_named(wanted: Limits, found: Limits, says: str) -> None:
    difference = wanted.differ_from(found)
    assert difference.startswith(says) and bool(difference) == bool(says)


def test_what_was_begun_and_not_closed_is_open() -> None:
    begun = ("scale.begun", "r1", {})
    assert [one.run for one in open_scales(entries(begun))] == ["r1"]
    for kind in ("scale.completed", "scale.rolled_back", "scale.failed"):
        closing = (kind, "r1", {"cause": "why"})
        assert open_scales(entries(begun, closing)) == []
        assert closed_scale(entries(closing)) == (kind.removeprefix("scale."), "why")
    assert closed_scale([]) == ("", "")


def test_only_what_was_approved_may_be_made() -> None:
    yes = ("scale.granted", "r1", {"after": Size(4).as_dict()})
    ledger = entries(("scale.completed", "r0", {"size": {"instances": 3}}), yes)
    assert "approved by ann" in find_size_authority(ledger, run="r1", size=Size(4))
    assert find_size_authority(ledger, run="r2", size=Size(4)) == "", "another run's approval"
    assert find_size_authority(ledger, run="r1", size=Size(5)) == "", "another size"
    assert find_size_authority(ledger, run="anybody", size=Size(3)), "back to what the ledger says"
    with pytest.raises(RefusedError, match="Nothing in the ledger lets run r2 make desk in production another size"):
        refuse_unauthorised_size("", run="r2", application="desk", environment="production", size=Size(4))


@pytest.mark.parametrize("kind", ["scale.requested", "scale.refused", "scale.rejected", "approval.granted"])
def test_other_entries_are_no_approval(kind: str) -> None:
    assert find_size_authority(entries((kind, "r1", {"after": {"instances": 4}})), run="r1", size=Size(4)) == ""


def test_an_approved_policy_lets_the_number_move_inside_its_bounds_and_nothing_else() -> None:
    settled = ("scale.completed", "r0", {"size": Size(3, 100 * MIB).as_dict()})
    ledger = entries(settled, ("load_policy.granted", "p", {"after": POLICY.as_dict()}))
    assert "within the policy" in find_size_authority(ledger, run="any", size=Size(8, 100 * MIB))
    assert find_size_authority(ledger, run="any", size=Size(9, 100 * MIB)) == ""
    assert find_size_authority(ledger, run="any", size=Size(4)) == "", "it takes the limit away"
    withdrawn = [*ledger, *entries(("load_policy.granted", "p2", {"after": {}}))]
    assert find_size_authority(withdrawn, run="any", size=Size(8, 100 * MIB)) == ""


def shown(**changes: Any) -> SizeShown:
    now, then = Size(2, None, None, 1), Size(4, 512 * MIB, 0.5, 1)
    facts = SizeShown("desk", "production", "a" * 64, ("alpha", "beta"), Size(), then, now, then, "more users", "bob")
    return replace(facts, **changes)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_form_answers_on_one_screen(language: str) -> None:
    text = explain_size(shown(), deadline="tomorrow", refusal="too late", language=language)  # type: ignore[arg-type]
    for needed in (
        "desk",
        "alpha, beta",
        "**4**",
        "**8**",
        "**512 MiB**",
        "4,096 MiB",
        "more users",
        "bob",
        "tomorrow",
    ):
        assert needed in text, needed
    assert "too late" in text and len(text) < 3000


def test_any_change_in_what_is_shown_changes_its_hash_and_foreign_text_is_no_markup() -> None:
    assert len({shown().hash, shown(release="b" * 64).hash, shown(before=Size(9)).hash, shown(reason="x").hash}) == 4
    assert "<script>" not in explain_size(shown(reason="a|b <script>\n# x"), deadline="")


def test_questions_without_an_outcome_are_open() -> None:
    asked = [(f"{noun}.requested", noun, {"gate": "g", "deadline": "d"}) for noun in ("scale", "load_policy")]
    assert [one.noun for one in open_questions(entries(*asked))] == ["scale", "load_policy"]
    closed = [*asked, ("scale.granted", "scale", {"gate": "g"}), ("load_policy.expired", "load_policy", {"gate": "g"})]
    assert open_questions(entries(*closed)) == []
