"""Older and newer commits: which push overtakes a run that has not reached production, and what may still go live.

"Newer" is by the branch's history, and by the order of deliveries where history does not say (a force push). Used by
`flows/ci.py`, `flows/cd.py` and `flows/reconcile.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from domain.ledger import Entry
from domain.pushes import RECEIVED
from domain.release import short

PUSHES_LOOKED_AT_MAX = 200

IsAncestor = Callable[[str, str], bool]
"""Whether the first commit is in the history of the second; False also where either is not known (any more)."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A push to the registered branch, in the order of deliveries (`seq`): where the branch was, where it went."""

    seq: int
    commit: str
    before: str


def read_arrivals(entries: Sequence[Entry]) -> list[Arrival]:
    """Read the pushes from an application's entries; the newest few hundred, oldest first."""
    found = [
        Arrival(entry.seq, str(entry.data.get("commit", "")), str(entry.data.get("before", "")))
        for entry in entries
        if entry.kind == RECEIVED and str(entry.data.get("commit", "")).strip("0")
    ]
    return found[-PUSHES_LOOKED_AT_MAX:]


def find_newer(commit: str, arrivals: Sequence[Arrival], *, began: int, by_hand: bool, is_ancestor: IsAncestor) -> str:
    """Find the commit that supersedes a run of `commit`; empty where none does.

    A delivery may come late: a push of something older than what was pushed before it supersedes nothing, unless it
    really moved the branch back. A run that a person started after a push knew of it: only later pushes overtake it.

    Args:
        arrivals: the pushes, oldest first.
        began: the sequence number at which the run began; what counts where no push brought its commit.
        by_hand: whether a person started it.
    """
    own = next((arrival for arrival in reversed(arrivals) if arrival.commit == commit), None)
    start = began if by_hand or own is None else own.seq
    stands_alone = by_hand or own is None or _moved_back(own, is_ancestor)
    for other in reversed(arrivals):
        if other.commit == commit:
            continue
        if other.seq > start:
            came_late = is_ancestor(other.commit, commit) and not _moved_back(other, is_ancestor)
            if not came_late:
                return other.commit
        elif not stands_alone and is_ancestor(commit, other.commit):
            return other.commit
    return ""


def _moved_back(arrival: Arrival, is_ancestor: IsAncestor) -> bool:
    """Whether a push took the branch back to something older: then this is what people want now."""
    return bool(arrival.before.strip("0")) and is_ancestor(arrival.commit, arrival.before)


def explain_superseded(commit: str, newer: str) -> str:
    """Say what overtook a run."""
    return f"superseded: commit {short(newer)} was pushed after {short(commit)}"


def explain_older(release: str, commit: str, live: str, live_commit: str, *, environment: str) -> str:
    """Say why an older commit may not go live by `cd`, and what does it."""
    return (
        f"Release {short(release)} is of commit {short(commit)}, which is older than what is live in {environment} "
        f"({short(live)}, commit {short(live_commit)}). Go back with `slipway rollback`, or push a commit that reverts."
    )
