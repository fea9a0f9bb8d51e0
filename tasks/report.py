"""What people see of a run in the Prefect UI: progress while it runs, a report at its end."""

from blocks.world import open_world
from domain.rollout import Step
from tasks.recording import effect_task, is_engine_away


class Progress:
    """A progress bar over the steps of one rollout, moved at every look."""

    def __init__(self, *, key: str, description: str, steps: list[Step]) -> None:
        self._key = key
        self._description = description
        self._steps = steps
        self._shown = -1.0

    def show(self, step: Step, *, elapsed_s: float) -> None:
        """Move the bar; a movement of less than a percent is not worth a call."""
        total_s = sum(max(1, planned.watch_s) for planned in self._steps)
        done_s = sum(max(1, planned.watch_s) for planned in self._steps if planned.number < step.number)
        percent = round(min(100.0, 100 * (done_s + min(elapsed_s, step.watch_s)) / total_s), 1)
        if percent - self._shown < 1.0 or is_engine_away():
            return
        self._shown = percent
        open_world().screen.progress(self._key, percent=percent, description=self._description)


@effect_task
def publish_report(key: str, markdown: str, description: str) -> str:
    """Publish a report under a key (lower-case letters, digits, dashes). Returns its id."""
    if is_engine_away():
        return ""
    return open_world().screen.report(key, markdown=markdown, description=description)
