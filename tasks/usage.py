"""Collecting what is used: one source at a time, so that one which fails costs its own series only."""

from datetime import datetime, timedelta
from typing import Any

from blocks.world import World, open_world
from domain.capacity import Collecting
from domain.catalogue import Language, say
from domain.errors import ConfigError, SlipwayError
from domain.ports import UsageSource
from domain.series import Remark
from domain.usage import Interval, Reading, believable, doubt_clock, plan_intervals
from tasks.recording import Subject, effect_task, reading_task, record

PROBLEMS_MAX = 20


@reading_task
def list_sources() -> list[str]:
    """List the sources that are set. Raises: ConfigError where `capacity.yaml` can't be used."""
    world = open_world()
    world.capacity.read()
    return [source.name for source in world.usage_sources()]


@effect_task
def collect_source(run: str, source: str) -> dict[str, Any]:
    """Read what one source knows since it was last read, and keep it. Effect: samples, or a gap with its reason.

    A failure is recorded when it begins and when it ends, not at every run; it never fails the run.

    Returns: `series`, `samples`, `problems` (sentences), and `failed` (the reason, or empty).
    """
    world = open_world()
    found = next((one for one in world.usage_sources() if one.name == source), None)
    if found is None:
        raise ConfigError(f"No source '{source}' is set any more. Look at capacity.yaml.")
    collected = _Collected(world, found, world.capacity.read().collecting)
    was_failing = collected.is_failing()
    collected.read()
    subject = Subject(run, "")
    if collected.failure and not was_failing:
        record(subject, "usage.failed", detail=source, source=source, error=collected.failure[:500])
    elif was_failing and not collected.failure and collected.series:
        record(subject, "usage.resumed", detail=source, source=source)
    return {
        "source": source,
        "series": len(collected.series),
        "samples": collected.samples,
        "problems": [problem.text(world.language) for problem in collected.problems[:PROBLEMS_MAX]],
        "failed": collected.failure,
    }


class _Collected:
    """One source's way through the intervals that it was not asked for yet."""

    def __init__(self, world: World, source: UsageSource, settings: Collecting) -> None:
        self._store, self._source, self._settings = world.usage_store, source, settings
        self._now: datetime = world.clock.now()
        self._language: Language = world.language
        self.newest = self._store.newest(source.name)
        self.series: set[str] = set()
        self.samples = 0
        self.problems: list[Remark] = []
        self.failure = ""

    def is_failing(self) -> bool:
        """Whether the last thing known of this source is a failure."""
        begin = self.newest or self._now - timedelta(hours=self._settings.reach_back_hours)
        return any(gap.reason for gap in self._store.gaps(self._source.name, begin=begin, end=self._now))

    def read(self) -> None:
        if doubt := doubt_clock(self._source.name, self.newest, now=self._now):
            self.problems.append(doubt)
        pieces = plan_intervals(
            self.newest,
            now=self._now,
            reach_back=timedelta(hours=self._settings.reach_back_hours),
            longest=timedelta(hours=self._settings.longest_hours),
        )
        for place, piece in enumerate(pieces):
            try:
                reading = self._source.read(piece)
            except SlipwayError as exc:
                self.failure = str(exc)
                self._store.fail(self._source.name, Interval(piece.begin, pieces[-1].end), self.failure)
                told = {"source": self._source.name, "reason": self.failure}
                self.problems.append(Remark("usage.source_failed", told))
                return
            self._keep(piece, reading, is_last=place == len(pieces) - 1)

    def _keep(self, piece: Interval, reading: Reading, *, is_last: bool) -> None:
        self.problems += reading.problems
        if not reading.measured and not is_last:
            only_now = Remark("usage.present_only", {"source": self._source.name})
            self._store.fail(self._source.name, piece, only_now.text(self._language))
            return
        checked = [believable(one, piece) for one in reading.measured]
        for measured, remarks in checked:
            self.problems += remarks
            self.series.add(measured.resource.key)
            self.samples += len(measured.values)
        self._store.record(self._source.name, piece, Reading(tuple(measured for measured, _ in checked)))


@effect_task
def publish_collected(run: str, collected: list[dict[str, Any]]) -> str:
    """Show what was collected and what was not. Effect: an artifact `usage-collected`."""
    world = open_world()
    lines = [f"# {say('capacity.collected_title', language=world.language)}", ""]
    for one in collected:
        told = {"source": one["source"], "series": one["series"], "samples": one["samples"]}
        lines.append(f"- {say('capacity.collected_row', language=world.language, **told)}")
        lines += [f"    - {problem}" for problem in one["problems"]]
    markdown = "\n".join(lines)
    return world.screen.report("usage-collected", markdown=markdown, description=lines[0].removeprefix("# "))


@effect_task
def prune_usage(run: str) -> int:
    """Forget what is older than it is kept. Effect: rows; may be repeated. Returns how many went."""
    world = open_world()
    return world.usage_store.prune(world.capacity.read().collecting.keeping, now=world.clock.now())
