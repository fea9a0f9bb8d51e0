"""What lets a run change an environment that asks for an approval: a record in the ledger, and nothing else.

Anybody with Prefect's password can start a flow, set a state, hand in a parameter. So every effect on such an
environment asks here whether the ledger holds what allows it; the roles of the database see to it that only the code
that authorises can write that (`blocks/ledger_roles.py`).
"""

from collections.abc import Sequence
from typing import Final

from domain.errors import RefusedError
from domain.ledger import Entry
from domain.release import short
from domain.revision import SETTINGS, release_of, revision_of
from domain.rollout import SETTLING_KINDS, live_release

GENERAL_NOUNS = (
    "ci",
    "checkout",
    "build",
    "bundle",
    "check",
    "image",
    "isolation",
    "handover",
    "notification",
    "status",
)
"""What the general worker may write about, with any verb: what becomes of a commit until it is a release."""

GENERAL_KINDS = ("release.pinned", "run.refused")
"""What else it may write. No approval, rollback, rollout, proof, traffic or digest is among these."""

RELEASE_KEY: Final = "release:"
"""The key of `release.pinned` begins so; every other key of an entry begins with its kind."""

AUTHORISING_KINDS = ("approval.granted", "rollback.authorised", "rollback.begun", *SETTLING_KINDS)
"""The entries of one application and environment that say who may bring what there."""

_YES = ("approve", "proceed", "wait")


def may_general_write(kind: str) -> bool:
    """Whether the worker that has no credential of production may write an event of this kind."""
    return kind in GENERAL_KINDS or kind.partition(".")[0] in GENERAL_NOUNS


def find_authority(entries: Sequence[Entry], *, run: str, release: str) -> str:
    """Say what lets a run bring a release to an environment; an empty text where nothing does.

    Going back to what the ledger says is live needs nobody's leave: that is how a bad or dead rollout ends.

    Args:
        entries: those of `AUTHORISING_KINDS` of the application and environment, oldest first.
        release: the digest that is to serve; empty where nothing is to serve any more.
    """
    live = live_release(entries)
    if release == live:
        return "it is what is live" if live else "nothing is live"
    for entry in entries:
        if entry.kind == "approval.granted" and entry.data.get("decision") in _YES and _is(entry, run, release):
            return f"approved by {entry.event.actor} (entry {entry.seq})"
    # to which release it may go is the flow's to refuse: by hand, with half of the ledger away, it is not known here
    if release and (authorised := _authorised_rollback(entries, run=run, release=release)):
        return f"rollback by {authorised.event.actor} (entry {authorised.seq})"
    return ""


def find_leave(entries: Sequence[Entry], *, run: str, release: str) -> str:
    """Say what lets a run end a release's instances; an empty text where nothing does. Arguments as `find_authority`.

    What is not live may be ended by anybody who gets that far: nobody is served by it, or it is a canary going back.
    """
    if release != live_release(entries):
        return "it is not what is live"
    for entry in entries:
        if entry.event.run == run and entry.kind in ("approval.granted", "rollback.authorised"):
            return f"the run was authorised (entry {entry.seq})"
    settled = _authorised_rollback(entries, run="", release="")
    return f"a rollback is under way (entry {settled.seq})" if settled else ""


def _authorised_rollback(entries: Sequence[Entry], *, run: str, release: str) -> Entry | None:
    """Find what authorised this run's rollback, or one that was begun and that `reconcile` now brings to its end."""
    authorised = {entry.event.run: entry for entry in entries if entry.kind == "rollback.authorised"}
    if run in authorised and _names(authorised[run], release):
        return authorised[run]
    open_ones: dict[str, str] = {}
    for entry in entries:
        if entry.kind == "rollback.begun":
            open_ones[entry.event.run] = revision_of(entry)
        elif entry.kind in SETTLING_KINDS:
            open_ones.pop(entry.event.run, None)
    for begun_by, to in open_ones.items():
        if begun_by in authorised and (not release or to == release):
            return authorised[begun_by]
    return None


def _is(entry: Entry, run: str, release: str) -> bool:
    return entry.event.run == run and revision_of(entry) == release


def _names(authorised: Entry, release: str) -> bool:
    """Whether an administrator named this release, with these settings or any; or none, which is the one before."""
    return (
        authorised.event.release == ""
        or release in (authorised.event.release, revision_of(authorised))
        or (SETTINGS not in authorised.data and release_of(release) == authorised.event.release)
    )


def refuse_unauthorised(authority: str, *, run: str, application: str, environment: str, release: str) -> None:
    """Raises: RefusedError where nothing in the ledger lets the run do this."""
    if not authority:
        raise RefusedError(
            f"Nothing in the ledger lets run {run} change {application} in {environment} (release "
            f"{short(release) or 'none'}). Nothing was changed. Approve it at its gate, or use `slipway rollback`."
        )
