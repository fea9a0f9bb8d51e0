"""Watching a release under real traffic, and judging it at every look.

Called by `flows/rollout_canary.py`. Reading (a task), judging (`domain/judgement.py`) and acting (the caller) stay
apart: this only says what the traffic says.
"""

from blocks.world import open_world
from domain.application import ApplicationFile
from domain.judgement import Judgement, judge_alone, judge_canary
from domain.rollout import Step
from domain.traffic import Reading, Window
from tasks.lease import LeaseKeeper
from tasks.report import Progress
from tasks.traffic import measure_traffic

LOOK_S_MIN, LOOK_S_MAX = 2.0, 5.0


class Watch:
    """The windows of one rollout on one site, both releases on one clock, growing step by step."""

    def __init__(self, *, application: str, environment: str, site: str, release: str, live: str) -> None:
        self.place = (application, environment, site)
        self.release = release
        self.live = live
        self.clock = open_world().clock
        self.epoch = self.clock.now()
        self.canary: list[Window] = []
        self.beside: list[Window] = []
        self.reading: Reading | None = None

    def watch_step(
        self, step: Step, *, file: ApplicationFile, keeper: LeaseKeeper, progress: Progress, is_last_step: bool
    ) -> Judgement:
        """Watch one step to its verdict: FAIL at any look, PASS or UNCLEAR at the end only."""
        begun = self.clock.now()
        before = list(self.beside)
        alone: list[Window] = []
        self.reading = None  # the share has just changed: what was answered before belongs to the step before
        look_s = min(LOOK_S_MAX, max(LOOK_S_MIN, step.watch_s / 60))
        while True:
            keeper.check()
            elapsed_s = (self.clock.now() - begun).total_seconds()
            judgement = (
                judge_alone(alone, objectives=file.objectives, watch_s=step.watch_s, elapsed_s=elapsed_s, before=before)
                if step.weight_percent == 100
                else judge_canary(
                    self.canary,
                    self.beside,
                    objectives=file.objectives,
                    watch_s=step.watch_s,
                    elapsed_s=elapsed_s,
                    is_last_step=is_last_step,
                )
            )
            progress.show(step, elapsed_s=elapsed_s)
            if judgement.verdict is not None:
                return judgement
            found = self._look(min(look_s, max(0.5, step.watch_s - elapsed_s)))
            self.canary += found[self.release]
            self.beside += found.get(self.live, [])
            alone += found[self.release]

    def _look(self, seconds: float) -> dict[str, list[Window]]:
        application, environment, site = self.place
        releases = (self.release, self.live) if self.live else (self.release,)
        windows, self.reading = measure_traffic(
            application, environment, site, releases, seconds, self.epoch.isoformat(), self.reading
        )
        return windows
