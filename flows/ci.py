"""`ci`: a pushed commit becomes a release, or a report of what is wrong with it.

Started by the door for each genuine push, or by hand from the Prefect UI. It never suspends. Work on this machine is
done anew when the run is retried; what leaves it (bundle, image, ledger, `cd`) is keyed, so that twice is once.
"""

from typing import Any, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from blocks.world import open_world
from domain.catalogue import say
from domain.errors import SlipwayError
from domain.release import short
from flows.building import Building
from tasks.ci_report import CiProgress
from tasks.readiness import await_parts
from tasks.release import start_cd
from tasks.superseding import read_newer

CHECKS_AT_ONCE = 2


def _run_name() -> str:
    return f"{flow_run.parameters['application']} {short(str(flow_run.parameters['commit']))}"


@flow(
    name="ci",
    flow_run_name=_run_name,
    task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=CHECKS_AT_ONCE)),
)
def ci(
    application: str,
    commit: str,
    branch: str = "main",
    requester: str = "",
    requester_email: str = "",
    before: str = "",
    delivery: str = "",
) -> State[None]:
    """Build a commit, check it, and pin it as a release.

    Args:
        application: the registered application's name.
        commit: the full SHA of the commit.
        branch: where it was pushed; kept for the record.
        requester: who pushed it; they cannot approve the release.
        requester_email: another name of theirs.
        before: the commit that the branch was at before, to list what is new; may stay empty.
        delivery: the forge's id of the delivery that started this; may stay empty.
    """
    building = Building(
        run=str(flow_run.id),
        attempt=int(flow_run.run_count or 1),
        application=application,
        commit=commit,
        branch=branch,
        before=before,
        requester=requester,
        requester_email=requester_email,
        delivery=delivery,
        progress=CiProgress(application, commit),
    )
    building.begin()
    try:
        if newer := read_newer(building.run, application, commit):
            return building.end_superseded(newer)
        await_parts("ci")
        manifest = building.build()
        if manifest is None:
            building.end_red(building.cause)
            return Failed(message=building.cause[:1000])
        release = building.release(manifest)
        if newer := read_newer(building.run, application, commit):
            return building.end_superseded(newer, release)
        cd_run = start_cd(building.run, application, release, requester)
    except (SlipwayError, OSError) as exc:  # OSError: a full disk, above all
        building.end_red(str(exc))
        return Failed(message=str(exc)[:1000])
    building.end_green(release, cd_run)
    open_world().runner.remove_folder(f"ci-{building.run}")
    return Completed(message=say("ci.done", language=open_world().language, release=short(release), run=cd_run))
