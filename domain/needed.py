"""Which releases are needed: what is live, what could be rolled back to, what runs, what is on its way."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from domain.ledger import Entry
from domain.release import Image, bundle_key
from domain.revision import release_of
from domain.rollout import SETTLING_KINDS

NEEDED_KINDS = (*SETTLING_KINDS, "rollout.begun", "rollback.begun", "approval.requested")


def explain_needed(
    entries: Sequence[Entry], *, running: Mapping[str, str], ended: Collection[str] = ()
) -> dict[str, str]:
    """Say of each needed digest why it is needed.

    A rollback by name may go to whatever was wholly live in an environment, so all of these stay.

    Args:
        entries: those of `NEEDED_KINDS`, of every application.
        running: where digests run.
        ended: runs that are over; a gate or rollout of any other run may still go on.
    """
    found: dict[str, str] = {}
    for entry in entries:
        event = entry.event
        if entry.kind in SETTLING_KINDS:
            found.setdefault(event.release, f"it was live in {event.environment}: a rollback may go back to it")
            if to := str(entry.data.get("to", "")):
                found.setdefault(release_of(to), f"a rollback in {event.environment} went back to it")
        elif entry.kind in NEEDED_KINDS and event.run not in ended:
            found.setdefault(event.release, f"a rollout to {event.environment} may be under way")
    return {**found, **{digest: f"it runs in {place}" for digest, place in running.items()}}


def known_images(entries: Sequence[Entry]) -> dict[Image, datetime]:
    """Every image that was built or pinned, and when that was last.

    Args:
        entries: `image.built` and `release.pinned`, of every application, oldest first.
    """
    found: dict[Image, datetime] = {}
    for entry in entries:
        if entry.kind == "image.built":
            repository, _, digest = str(entry.data["image"]).partition("@")
            found[Image(repository, digest)] = entry.at
        elif image := entry.data["manifest"].get("image"):
            found[Image(**image)] = entry.at
    return found


def explain_images(pinned: Sequence[Entry], needed: Mapping[str, str]) -> dict[str, str]:
    """Say of each image, by `repository@digest`, why it has to stay.

    Args:
        pinned: every `release.pinned`: several releases may share an image.
    """
    found: dict[str, str] = {}
    for entry in pinned:
        image, reason = entry.data["manifest"].get("image"), needed.get(entry.event.release)
        if image and reason:
            found[f"{image['repository']}@{image['digest']}"] = reason
    return found


def explain_bundles(pinned: Sequence[Entry], needed: Mapping[str, str]) -> dict[str, str]:
    """Say of each bundle's key why it has to stay.

    Args:
        pinned: every `release.pinned`: several releases may share a bundle.
    """
    found: dict[str, str] = {}
    for entry in pinned:
        if reason := needed.get(entry.event.release):
            bundle = entry.data["manifest"]["bundle"]
            found[bundle_key(entry.event.application, str(bundle["sha256"]))] = reason
    return found
