"""What an application's data must be like, judged right before and after a clean-up: by the suites that drills go by.

Data that is not as it should be is not cleaned up: what is wrong might be in what would go. Afterwards the same suites
say that nothing broke. What could not be judged is told as that, and stops nobody.
"""

from typing import Any

from blocks.world import open_world
from domain.cleanup_policy import OWN
from domain.drill import Outcome
from domain.errors import SlipwayError
from domain.expectations import read_suite
from tasks.approval import read_live
from tasks.cleanup_policies import subject_of
from tasks.instances import find_manifest, read_application_file
from tasks.recording import effect_task, record

LIMIT_S = 600
BEFORE, AFTER = "before", "after"


@effect_task
def judge_expectations(
    run: str, application: str, environment: str, name: str, plan_hash: str, when: str
) -> dict[str, list[str]]:
    """Judge the database by the suites of the live release. Effect: one entry, where there is a suite.

    Returns: `unmet` and `unavailable`, a line each; both empty where all is as it should be, or nothing was promised.
    """
    told: dict[str, list[str]] = {"unmet": [], "unavailable": []}
    try:
        suites = _read_suites(application, environment)
        if not suites:
            return told
        found = open_world().cleaning.expect(application, environment, suites, limit_s=LIMIT_S)
    except SlipwayError as exc:
        told["unavailable"].append(str(exc)[:300])
    else:
        for check in found.checks:
            if check.outcome is Outcome.FAIL:
                told["unmet"].append(f"{check.name}: {check.values.get('failed', '')}"[:300])
            elif check.outcome is Outcome.UNAVAILABLE:
                told["unavailable"].append(f"{check.name}: {check.values.get('reason', '')}"[:300])
    subject = subject_of(run, application, environment)
    record(
        subject,
        "cleanup.judged",
        detail=f"{name}:{plan_hash}:{when}",
        policy=name,
        plan_hash=plan_hash,
        when=when,
        **told,
    )
    return told


def _read_suites(application: str, environment: str) -> dict[str, Any]:
    """The suites of the release that is live there, by file; Slipway itself has none."""
    live = "" if application == OWN else read_live.fn(application, environment)
    if not live:
        return {}
    world = open_world()
    site = world.environment(environment).primary.name
    data = read_application_file(application, environment, site, live).data
    if data is None:
        return {}
    manifest, target = find_manifest(application, live), world.target(environment, site)
    return {
        path.rpartition("/")[2].removesuffix(".json"): read_suite(target.read_file(manifest, path), file=path)
        for path in data.expectations
    }
