"""Whether a release could be delivered at all, asked before anything starts: nothing is worse than finding out midway.

Called by `flows/cd.py`. It brings the bytes of the release to one site, to read its `slipway.toml`, and starts nothing.
"""

from blocks.world import open_world
from domain.errors import RefusedError
from domain.release import short
from domain.settings import explain_missing
from flows.schema import explain_unfit_schema
from tasks.approval import read_live
from tasks.instances import prepare_release
from tasks.rollout import has_begun, read_file, record_rollout
from tasks.settings import read_blocked_settings, read_settings


def refuse_unfit(run: str, application: str, release: str) -> None:
    """Refuse what would be refused later in any case.

    Raises: RefusedError where an environment on the way lacks settings that the release needs, where its newest ones
        failed before, or where the release and the live one don't declare that they can share its schema; written down
        as `cd.refused`, with what to do.
    """
    if has_begun(run, application):
        return  # asked once: what is under way is not ended because somebody changes a setting meanwhile
    places = [place for place in open_world().environments() if place.name != "development"]
    first = places[0]
    prepare_release(run, application, first.name, first.primary.name, release)
    file = read_file(application, first.name, first.primary.name, release)
    for place in places:
        settings = read_settings(application, place.name)
        missing = explain_missing(settings, config=file.service.config, secrets=file.secrets_needed(settings.config))
        cause = missing or read_blocked_settings(application, place.name)
        if not cause and place.entry == "canary":
            live = read_live(application, place.name)
            cause = explain_unfit_schema(application, place.name, release, live=live) if live else ""
        if cause:
            record_rollout(run, application, place.name, release, "cd.refused", {"cause": cause}, "unfit")
            raise RefusedError(f"Release {short(release)} can't be delivered: {cause} Then start `cd` again.")
