"""What people see of a run of `ci` in the Prefect UI: a bar that moves while it runs, and one report at its end."""

import re
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from blocks.world import open_world
from domain.catalogue import say
from domain.check import CheckResult, explain_build
from domain.release import short
from tasks.report import publish_report

SHARES_PERCENT = {"checkout": 5, "build": 15, "bundle": 25, "unit": 55, "integration": 85, "release": 95, "done": 100}
"""How far a run is once it has come to the end of a stage."""


def artifact_key(prefix: str, application: str) -> str:
    """Name an artifact of an application; somebody who starts `ci` by hand may have typed anything."""
    return f"{prefix}-{re.sub(r'[^a-z0-9]+', '-', application.lower())[:60].strip('-')}".strip("-")


class CiProgress:
    """The progress bar of one run; made at its first use."""

    def __init__(self, application: str, commit: str) -> None:
        self._application, self._commit = application, commit
        self._artifact: UUID | None = None

    def reached(self, stage: str) -> None:
        """Move the bar to the end of a stage."""
        percent = float(SHARES_PERCENT[stage])
        if self._artifact is not None:
            update_progress_artifact(self._artifact, percent)
            return
        told = say(
            "ci.progress", language=open_world().language, application=self._application, commit=short(self._commit)
        )
        made = create_progress_artifact(percent, key=artifact_key("ci-progress", self._application), description=told)
        self._artifact = UUID(str(made))


def show_report(
    application: str,
    commit: str,
    results: list[CheckResult],
    *,
    cause: str = "",
    release: str = "",
    requester: str = "",
    attempt: int = 1,
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
        language=language,
    )
    description = say("ci.report_description", language=language, commit=f"{short(commit)} ({attempt})")
    return publish_report(artifact_key("ci", application), markdown, description)
