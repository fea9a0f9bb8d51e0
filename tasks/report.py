"""What people see of a run in the Prefect UI: progress while it runs, a report at its end."""

from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from domain.rollout import Step
from tasks.recording import effect_task


class Progress:
    """A progress bar over the steps of one rollout; made at its first use, moved at every look."""

    def __init__(self, *, key: str, description: str, steps: list[Step]) -> None:
        self._key = key
        self._description = description
        self._steps = steps
        self._artifact: UUID | None = None
        self._shown = -1.0

    def show(self, step: Step, *, elapsed_s: float) -> None:
        """Move the bar; a movement of less than a percent is not worth a call."""
        total_s = sum(max(1, planned.watch_s) for planned in self._steps)
        done_s = sum(max(1, planned.watch_s) for planned in self._steps if planned.number < step.number)
        percent = round(min(100.0, 100 * (done_s + min(elapsed_s, step.watch_s)) / total_s), 1)
        if percent - self._shown < 1.0:
            return
        self._shown = percent
        if self._artifact is None:
            made = create_progress_artifact(percent, key=self._key, description=self._description)
            self._artifact = UUID(str(made))
        else:
            update_progress_artifact(self._artifact, percent)


@effect_task
def publish_report(key: str, markdown: str, description: str) -> str:
    """Publish a markdown artifact under a key (lower-case letters, digits, dashes). Returns its id."""
    return str(create_markdown_artifact(markdown, key=key, description=description))
