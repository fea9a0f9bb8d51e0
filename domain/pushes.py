"""Pushes as the ledger knows them: who authenticated, and whether one is known already.

The door writes `push.received` for each genuine push to a registered branch, from the verified body, before anything
is started. A delivery's id is not signed, so a body that was seen can come again under a new id: a replay. But the same
movement can also be made twice for good: forced from A to B, back to A, and to B again. What tells them apart:

* A replay finds the branch where the same movement left it: no other push came in between. Nothing is started.
* Where another push came in between, the repository itself is asked: only if the branch is there now is it a new push.
  Then even a replay does no harm: it names what the branch really holds.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from domain.delivery import Push
from domain.ledger import Entry
from domain.release import short

RECEIVED = "push.received"
STARTED = "delivery.started"
PUSH_KINDS = (RECEIVED, STARTED)
"""`delivery.started` alone stands for pushes from before `push.received` was written."""

Standing = Literal["new", "replayed", "returned"]


def judge_push(earlier: Sequence[Entry], push: Push) -> Standing:
    """Decide whether a push is known: `new`, `replayed`, or `returned`, where the repository has to be asked.

    Args:
        earlier: the application's entries of `PUSH_KINDS`, oldest first, without the push itself.
    """
    branch = [entry for entry in _one_for_each_delivery(earlier) if entry.data.get("branch") == push.branch]
    if not any(_is_same(entry, push) for entry in branch):
        return "new"
    return "replayed" if _is_same(branch[-1], push) else "returned"


def explain_replay(push: Push) -> str:
    """Say why nothing is started, and what to do if it was meant."""
    return (
        f"the push of {push.branch} from {short(push.before)} to {short(push.after)} is known already (a replay, or "
        "delivered again); to build the commit once more, start the flow `ci` by hand"
    )


def pushers_of(entries: Iterable[Entry], commits: Collection[str] | None) -> frozenset[str]:
    """Collect every name of who pushed one of these commits, as the forge authenticated them.

    Args:
        commits: SHAs; None for all pushes there were.
    """
    return frozenset(
        name
        for entry in entries
        if entry.kind in PUSH_KINDS and (commits is None or entry.data.get("commit") in commits)
        for name in (entry.data.get("requester", ""), *entry.data.get("requester_names", []))
        if name
    )


def last_pusher(entries: Sequence[Entry], commit: str) -> str:
    """Say who pushed a commit last; empty where no signed push brought it."""
    names = [entry.data.get("requester", "") for entry in entries if entry.data.get("commit") == commit]
    return str(names[-1]) if names else ""


def _one_for_each_delivery(entries: Sequence[Entry]) -> list[Entry]:
    received = {entry.data.get("delivery_id") for entry in entries if entry.kind == RECEIVED}
    return [entry for entry in entries if entry.kind == RECEIVED or entry.data.get("delivery_id") not in received]


def _is_same(entry: Entry, push: Push) -> bool:
    """Entries from before `push.received` do not say where the branch was."""
    return entry.data.get("commit") == push.after and entry.data.get("before", push.before) == push.before
