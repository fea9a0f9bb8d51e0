"""Going back while the usual way is down: which way back is chosen, and how its journal becomes part of the ledger.

Break-glass is a rollback without Prefect and without the ledger's database. It leaves a mark, which keeps every other
run's hands off that environment, and a journal; both end when the ledger has taken the journal over. Used by
`flows/break_glass.py`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from domain.errors import RefusedError
from domain.ledger import Entry, Event, encode_time
from domain.release import short
from domain.revision import SETTINGS, release_of, revision_of, settings_of
from domain.rollout import (
    BLOCKING_KINDS,
    CLOSING_KINDS,
    OPENING_KINDS,
    OpenRollout,
    live_release,
    previous_release,
    refuse_blocked,
)
from domain.schema import APPLYING_KINDS
from domain.size import SIZE_KINDS

FACT_KINDS = (*OPENING_KINDS, *CLOSING_KINDS, *BLOCKING_KINDS, *APPLYING_KINDS, *SIZE_KINDS)
"""What the ledger's local copy holds: enough to know what was live, how large, what is open, what may not come back."""

_ENDINGS = ("rollback.completed", "rollback.failed")


@dataclass(frozen=True, slots=True)
class Mark:
    """An environment that an administrator took back by hand and that the ledger has not heard of yet.

    `run` names the act and its journal; `at` is ISO 8601, UTC.
    """

    application: str
    environment: str
    run: str
    actor: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class WayBack:
    """Where to go: `to` takes all traffic, `bad` is left (empty where nothing is), `live` was wholly live before.

    All of them are revisions (`domain/revision.py`).
    """

    to: str
    bad: str
    live: str


def explain_mark(mark: Mark) -> str:
    """Say who took an environment back, and what ends the standstill."""
    return (
        f"{mark.environment} of {mark.application} was rolled back by hand (break-glass) by {mark.actor} at {mark.at}: "
        f"{mark.reason[:200].rstrip('.')}. The ledger does not know it yet. Run `slipway up`."
    )


def explain_halt(environment: str) -> str:
    """Say why a run that was under way before a break-glass must not go on."""
    return (
        f"This run was under way when {environment} was rolled back by hand (break-glass). It must not go on; "
        "read `slipway history`, then deliver anew."
    )


def choose_way_back(
    *,
    wanted: str,
    settled: Sequence[Entry],
    blocked: dict[str, str],
    open_here: Sequence[OpenRollout],
    serving: Collection[str],
    running: Collection[str],
) -> WayBack:
    """Choose where to go back to from what this machine knows by itself.

    What serves and was never recorded as live is left, however it came there: the local copy of the ledger may be older
    than the traffic. What was live before and serves on some site only is where an earlier attempt got to.

    Args:
        wanted: the digest (or revision) that the administrator named; empty for the one that was good before.
        settled: the local copy's entries that say what was wholly live, oldest first.
        blocked: blocked digests with their reasons.
        open_here: what was begun in this environment and never closed, oldest first.
        serving: revisions with a share of the traffic on any site.
        running: revisions with instances on any site.

    Raises:
        RefusedError: where there is no way back, or the one named is blocked; the text says what to name.
    """
    live = live_release(settled)
    once_live = [revision_of(entry) for entry in settled]
    strangers = [release for release in serving if release not in once_live]
    midway = next((rollout.release for rollout in reversed(open_here) if rollout.release != live), "")
    bad = midway or next(iter(strangers), "")
    if wanted:
        to = _find_wanted(wanted, once_live or list(running))
        refuse_blocked(release_of(to), blocked)
        refuse_blocked(to, blocked)
    elif live and bad and not {live, release_of(live)} & blocked.keys():
        to = live
    elif settled:
        to = previous_release(settled, live=live, blocked=frozenset(blocked))
    else:
        return _choose_among(serving, running, blocked)
    left = next((release for release in (bad, live) if release and release != to), "")
    return WayBack(to, left, live)


def _find_wanted(wanted: str, known: Sequence[str]) -> str:
    """Say with which settings a release was live last. Raises: RefusedError for what never was."""
    found = [revision for revision in known if wanted in (revision, release_of(revision))]
    if not found:
        names = ", ".join(short(revision) for revision in dict.fromkeys(known)) or "none"
        raise RefusedError(f"Release {short(wanted)} was never live there, as far as this machine knows ({names}).")
    return found[-1]


def _choose_among(serving: Collection[str], running: Collection[str], blocked: dict[str, str]) -> WayBack:
    """Choose without any record: what is warm and does not serve, where that is exactly one release."""
    warm = [one for one in running if one not in serving and not {one, release_of(one)} & blocked.keys()]
    if len(warm) != 1 or len(serving) != 1:
        found = ", ".join(short(release) for release in running) or "none"
        raise RefusedError(
            "This machine has no record of what was live before, and what runs does not say it either "
            f"(running: {found}). Name the release to go back to with --release."
        )
    (bad,) = serving
    return WayBack(warm[0], bad, bad)


def adopt_entry(entry: Entry) -> Event:
    """Make the ledger's event of a journal's entry: the same fact, with its own time and place as data."""
    origin = {"at": encode_time(entry.at), "seq": entry.seq, "hash": entry.hash}
    event = entry.event
    return Event(
        kind=event.kind,
        application=event.application,
        environment=event.environment,
        site=event.site,
        release=event.release,
        actor=event.actor,
        run=event.run,
        key=f"break-glass:{event.run}:{entry.seq}",
        data={**event.data, "break_glass": origin},
    )


def plan_closing(journal: Sequence[Entry], open_here: Sequence[OpenRollout]) -> list[Event]:
    """Plan how rollouts end that were open in the environment which a journal took back.

    Args:
        journal: all entries of one journal, oldest first.
        open_here: what the ledger says was begun there and never closed, of any run.

    Returns: one closing event for each, in the name of the run that began it; none where the journal took nothing back.
    """
    begun = next((entry for entry in journal if entry.kind == "rollback.begun"), None)
    if begun is None:
        return []
    ended = next((entry for entry in journal if entry.kind in _ENDINGS), None)
    verified = str(ended.data.get("verified", "")) if ended else "the break-glass was cut off; reconcile finishes it"
    act = begun.event
    return [
        Event(
            kind="rollout.rolled_back" if rollout.kind == "rollout" else "rollback.failed",
            application=rollout.application,
            environment=rollout.environment,
            release=release_of(rollout.release),
            run=rollout.run,
            key=f"break-glass:{act.run}:closes:{rollout.run}:{rollout.environment}",
            data={
                "to": revision_of(begun),
                "cause": f"ended by a break-glass rollback by {act.actor}",
                "verified": verified,
                **({SETTINGS: settings_of(rollout.release)} if settings_of(rollout.release) else {}),
            },
        )
        for rollout in open_here
        if rollout.run != act.run
    ]
