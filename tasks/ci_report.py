"""What people see of a run of `ci` in the Prefect UI: a bar that moves while it runs, and one report at its end."""

import re
from collections.abc import Sequence

from blocks.world import open_world
from domain.catalogue import say
from domain.check import CheckResult, explain_build
from domain.isolation import explain_isolation
from domain.release import short
from tasks.report import publish_report

SHARES_PERCENT = {"checkout": 5, "build": 15, "bundle": 25, "unit": 55, "integration": 85, "release": 95, "done": 100}
"""How far a run is once it has come to the end of a stage."""


def artifact_key(prefix: str, application: str) -> str:
    """Name an artifact of an application; somebody who starts `ci` by hand may have typed anything."""
    return f"{prefix}-{re.sub(r'[^a-z0-9]+', '-', application.lower())[:60].strip('-')}".strip("-")


class CiProgress:
    """The progress bar of one run."""

    def __init__(self, application: str, commit: str) -> None:
        self._application, self._commit = application, commit

    def reached(self, stage: str) -> None:
        """Move the bar to the end of a stage."""
        told = say(
            "ci.progress", language=open_world().language, application=self._application, commit=short(self._commit)
        )
        open_world().screen.progress(
            artifact_key("ci-progress", self._application), percent=float(SHARES_PERCENT[stage]), description=told
        )


def _isolation_notes(shared_network: Sequence[str]) -> list[str]:
    """What this machine, or the application's own wish, left without isolation."""
    world = open_world()
    missing = explain_isolation(world.runner.isolation(), language=world.language)
    shared = ", ".join(shared_network)
    asked = say("isolation.shared_network", language=world.language, names=shared) if shared else ""
    return [note for note in (missing, asked) if note]


def show_report(
    application: str,
    commit: str,
    results: list[CheckResult],
    *,
    cause: str = "",
    release: str = "",
    requester: str = "",
    attempt: int = 1,
    shared_network: Sequence[str] = (),
) -> str:
    """Publish the report as the artifact `ci-<application>`; its id. The newest run's is on top."""
    language = open_world().language
    markdown = explain_build(
        application=application,
        commit=commit,
        results=results,
        cause=cause,
        release=release,
        requester=requester,
        notes=_isolation_notes(shared_network),
        language=language,
    )
    description = say("ci.report_description", language=language, commit=f"{short(commit)} ({attempt})")
    return publish_report(artifact_key("ci", application), markdown, description)
