"""Whether a release could be delivered at all, asked before anything starts: nothing is worse than finding out midway.

Called by `flows/cd.py`. It brings the bytes of the release to one site, to read its `slipway.toml`, and starts nothing.
"""

from blocks.world import open_world
from domain.errors import RefusedError
from domain.release import short
from domain.settings import explain_missing
from tasks.instances import prepare_release
from tasks.rollout import read_file, record_rollout
from tasks.settings import read_blocked_settings, read_settings


def refuse_unfit(run: str, application: str, release: str) -> None:
    """Raises: RefusedError where an environment on the way lacks what the release needs, or what would be set there
    failed before; written down as `cd.refused`, with what to run."""
    places = [place for place in open_world().environments() if place.name != "development"]
    first = places[0]
    prepare_release(run, application, first.name, first.primary.name, release)
    service = read_file(application, first.name, first.primary.name, release).service
    for place in places:
        settings = read_settings(application, place.name)
        missing = explain_missing(settings, config=service.config, secrets=service.secrets)
        cause = missing or read_blocked_settings(application, place.name)
        if cause:
            record_rollout(run, application, place.name, release, "cd.refused", {"cause": cause}, "unfit")
            raise RefusedError(f"Release {short(release)} can't be delivered: {cause} Then start `cd` again.")
