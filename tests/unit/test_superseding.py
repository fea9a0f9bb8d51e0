"""Which push overtakes a run: by history, and by the order of deliveries where history does not say."""

import pytest

from domain.superseding import Arrival, find_newer

NONE = "0" * 40
HISTORY = {"b": "a", "c": "b", "d": "c", "x": "a"}
"""Each commit's parent: a ← b ← c ← d, and x beside b."""


def is_ancestor(older: str, newer: str) -> bool:
    at: str | None = newer
    while at is not None:
        if at == older:
            return True
        at = HISTORY.get(at)
    return False


def newer_than(commit: str, *pushes: tuple[str, str], began: int = 99, by_hand: bool = False) -> str:
    arrivals = [Arrival(seq, after, before) for seq, (before, after) in enumerate(pushes, start=1)]
    return find_newer(commit, arrivals, began=began, by_hand=by_hand, is_ancestor=is_ancestor)


@pytest.mark.parametrize(
    ("commit", "pushes", "newer"),
    [
        ("a", [(NONE, "a")], ""),
        ("a", [(NONE, "a"), ("a", "b")], "b"),
        ("b", [(NONE, "a"), ("a", "b")], ""),
        ("a", [(NONE, "a"), ("a", "b"), ("b", "c")], "c"),
        ("b", [("a", "b"), (NONE, "a")], ""),
        ("a", [("a", "b"), (NONE, "a")], "b"),
        ("b", [(NONE, "b"), ("b", "x")], "x"),
        ("x", [(NONE, "b"), ("b", "x")], ""),
        ("b", [(NONE, "a"), ("a", "b"), ("b", "a")], "a"),
        ("a", [(NONE, "a"), ("a", "b"), ("b", "a")], ""),
        ("a", [(NONE, "a"), ("a", "b"), ("b", "c"), ("c", "a")], ""),
        ("b", [(NONE, "a"), ("a", "b"), ("b", "c"), ("c", "a")], "a"),
        ("b", [(NONE, "a"), ("a", "b"), ("b", "a"), ("a", "b")], ""),
        ("a", [], ""),
    ],
    ids=[
        "alone",
        "newer",
        "newest",
        "two-newer",
        "older-came-late",
        "itself-came-late",
        "force-push",
        "force-pushed-one",
        "moved-back",
        "moved-back-to",
        "moved-back-far",
        "moved-back-over",
        "moved-back-and-forth",
        "no-push",
    ],
)
def test_what_overtakes_a_run_of_a_push(commit: str, pushes: list[tuple[str, str]], newer: str):
    assert newer_than(commit, *pushes) == newer


def test_a_run_that_a_person_started_is_overtaken_by_later_pushes_only():
    pushes = [(NONE, "a"), ("a", "b"), ("b", "c")]
    assert newer_than("a", *pushes, began=3, by_hand=True) == ""
    assert newer_than("a", *pushes, began=2, by_hand=True) == "c"
    assert newer_than("d", *pushes, began=1) == "", "what no push brought, and contains all that was pushed"
    assert newer_than("x", *pushes, began=3) == ""
