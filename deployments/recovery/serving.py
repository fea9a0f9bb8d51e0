"""Applications on what was recovered: each environment on the release that its ledger says is live.

Called by `slipway recover` after `slipway up`. Prefect is imported inside, after its address is known.
"""

from uuid import uuid4

from blocks.installation import Installation
from deployments.stack.progress import Progress
from domain.errors import SlipwayError
from domain.release import short


def bring_back(installation: Installation, progress: Progress) -> list[str]:
    """Give every environment its databases' passwords anew, start what was live, and give it the traffic.

    Effect: roles, processes, routes; entries in the ledger. May be repeated. Returns: what does not hold.
    """
    from blocks.embedded_world import EmbeddedWorld
    from blocks.world import use_world
    from tasks.recording import without_engine

    world = EmbeddedWorld(installation)
    use_world(lambda: world)  # pyright: ignore[reportArgumentType]
    problems: list[str] = []
    try:
        with without_engine():
            for application in world.applications.list():
                for environment in world.environments():
                    problem = _restore(progress, application.name, environment.name)
                    problems += [problem] if problem else []
    finally:
        use_world(None)
        world.close()
    return problems


def _restore(progress: Progress, application: str, environment: str) -> str:
    from blocks.world import open_world
    from flows.restoring import restore_release
    from tasks.approval import read_live
    from tasks.lease import environment_lease, held_lease

    live = read_live.fn(application, environment)
    if not live:
        return ""
    run = str(uuid4())
    try:
        with progress.step(f"{application} in {environment}: {short(live)}"):
            open_world().databases.ensure(application, environment)
            with held_lease(environment_lease(application, environment), owner=run):
                problem = restore_release(run=run, application=application, environment=environment, to=live, bad="")
    except SlipwayError as exc:
        problem = str(exc)
    return f"{application} in {environment}: {problem}" if problem else ""
