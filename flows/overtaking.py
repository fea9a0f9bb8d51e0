"""Whether something newer overtook a run of `cd` that has not reached production: asked before each of its stages.

Called by `flows/cd.py`. What is in production's rollout already goes on.
"""

from blocks.world import open_world
from tasks.instances import find_manifest
from tasks.superseding import read_newer, read_older_refusal


def find_overtaking(run: str, application: str, release: str) -> dict[str, str]:
    """Say how a run has to end because something newer was pushed, or is live already; empty where it may go on.

    Returns: `outcome` (`superseded`, with the newer commit as `cause`; or `refused`) and `cause`.
    """
    newer = read_newer(run, application, find_manifest(application, release).commit, release)
    if newer:
        return {"outcome": "superseded", "cause": newer}
    for environment in open_world().environments():
        if environment.entry == "canary":
            refusal = read_older_refusal(run, application, environment.name, release)
            if refusal:
                return {"outcome": "refused", "cause": refusal}
    return {}
