"""Whether the live release can run on a new schema, proved before anybody is asked; whether an older one can come back.

Called by `flows/cd.py` and `flows/rollback.py`. Nothing here changes an environment.
"""

from blocks.world import open_world
from domain.errors import RefusedError
from domain.release import short
from tasks.approval import read_live, record_proof
from tasks.instances import find_manifest
from tasks.schema import read_incompatibility, read_unreadable, try_live_on_schema


def prove_schema(run: str, application: str, environment: str, release: str) -> str:
    """See that the live release says, by its own checks, that it can run on what a release's migrations make.

    The result becomes part of the evidence. Returns: an empty text, or why the release can't take this environment.
    """
    live = read_live(application, environment)
    if not live:
        return ""
    problem = explain_unfit_schema(application, environment, release, live=live)
    if problem or not set(find_manifest(application, release).migrations) - set(
        find_manifest(application, live).migrations
    ):
        return problem
    tried = try_live_on_schema(run, application, environment, release, live)
    what = f"checks of the live release {short(live)} on the new schema"
    result = "none declared" if tried["result"] == "none" else tried["result"]
    record_proof(run, application, environment, release, what, result, int(float(tried["seconds"]) * 1000))
    return f"The live release can't run on the new schema: {tried['tail']}" if tried["result"] == "failed" else ""


def explain_unfit_schema(application: str, environment: str, release: str, *, live: str) -> str:
    """Say why a release may not take an environment with users, by what was declared; empty where it may."""
    first = next(place for place in open_world().environments() if place.name != "development")
    return read_incompatibility(application, first.name, first.primary.name, release, live) or read_unreadable(
        application, environment, release
    )


def refuse_unreadable(application: str, environment: str, release: str) -> None:
    """Raises: RefusedError where an earlier release can't run on what was migrated since."""
    problem = read_unreadable(application, environment, release)
    if problem:
        raise RefusedError(
            f"Release {short(release)} can't come back: {problem} Migrations are never taken back. Name a later "
            "release, or push a commit that mends what is wrong."
        )
