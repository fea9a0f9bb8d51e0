"""What every act of the demo needs: the world, the repository, the visitors, and a way to wait for something to happen.

While it waits it reads the ledger (and tells it), counts answers, and answers gates.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from blocks.forge_local import LocalForge
from blocks.world import World
from deployments.demo.counting import failed_outside
from deployments.demo.gate import Answerer, Question, read_question
from deployments.demo.summary import Summary
from deployments.demo.telling import tell_entry
from deployments.demo.timeline import Timeline
from deployments.demo.visitors import Visitors
from domain.errors import SlipwayError
from domain.ledger import Entry
from domain.release import short

LOOK_S = 0.4
SILENCE_S_MAX = 30
DEAD_STATES = ("failed", "crashed", "cancelled")


class DemoFailedError(SlipwayError):
    """Something that the demo claims did not happen; the text says what happened instead."""


@dataclass(slots=True)
class Stage:
    """The running demo. `seen` holds the application's entries since it began, oldest first."""

    world: World
    application: str
    timeline: Timeline
    forge: LocalForge
    answerer: Answerer
    summary: Summary
    after: int
    visitors: Visitors | None = None
    bad: str = ""
    seen: list[Entry] = field(default_factory=list[Entry])
    _question: Question | None = None
    _is_asked: bool = False
    _shares: dict[str, str] = field(default_factory=dict[str, str])

    def wait_for(
        self,
        what: str,
        is_it: Callable[[Entry], bool],
        *,
        limit_s: float,
        run: str = "",
        fatal: Collection[str] = (),
        environment: str = "",
    ) -> Entry:
        """Wait until such an entry is in the ledger, among all since the demo began.

        Args:
            run: the run that must bring it; where that ends badly, waiting is over.
            fatal: kinds of entries of that run, about this environment or none, after which it will not come any more.
            environment: the environment that this is about; empty where it is not about one.

        Raises:
            DemoFailedError: at the limit, or as soon as it cannot happen any more.
        """
        deadline = time.monotonic() + limit_s
        next_run_check, is_dead = 0.0, ""
        while True:
            if found := next((entry for entry in self.seen if is_it(entry)), None):
                return found
            self._look()
            if found := next((entry for entry in self.seen if is_it(entry)), None):
                return found
            self._refuse_fatal(what, run, fatal, environment)
            if is_dead:  # and what it wrote last was read meanwhile
                raise DemoFailedError(f"No {what}: {is_dead} See {self._url(run)}.")
            if run and time.monotonic() > next_run_check:
                is_dead = self._how_dead(run)
                next_run_check = time.monotonic() + 3
            if time.monotonic() > deadline:
                raise DemoFailedError(
                    f"No {what} within {limit_s:.0f} s. Look at {self._url(run)} and `slipway status`."
                )
            time.sleep(LOOK_S)

    def rest(self, seconds: float) -> None:
        """Let time pass, looking on."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look()
            time.sleep(LOOK_S)

    def _look(self) -> None:
        """Take in what is new: entries, answers, a gate that can be answered."""
        for entry in self.world.ledger.entries(application=self.application, after=self.after):
            self.after = entry.seq
            self.seen.append(entry)
            self._tell(entry)
            self._take_question(entry)
        if self.visitors is not None:
            self._count(self.visitors)
        if self._question is not None and not self._is_asked:
            self._is_asked = self.answerer.answer(self._question)

    def _tell(self, entry: Entry) -> None:
        names = {digest: name for name, digest in self.summary.releases.items()}
        told = tell_entry(entry, language=self.world.language, names=names)
        if told is None:
            return
        if told.key == "shifted":
            # shares are also set anew where only a release without one is taken out: nothing that a visitor sees
            site, shares = told.values["site"], told.values["shares"]
            if self._shares.get(site) == shares:
                return
            self._shares[site] = shares
        self.timeline.tell(told.key, mark=told.mark, **told.values)

    def _take_question(self, entry: Entry) -> None:
        if question := read_question(entry):
            self._question, self._is_asked = question, False
        elif entry.kind == "approval.refused":
            self._is_asked = False
        elif entry.kind in ("approval.granted", "approval.rejected", "approval.expired"):
            self._question = None

    def _count(self, visitors: Visitors) -> None:
        visitors.read()
        if visitors.silence_s > SILENCE_S_MAX:
            raise DemoFailedError(f"No visitor had an answer for {SILENCE_S_MAX} s. Look at `slipway status`.")
        shares = ", ".join(f"{short(release)} {count}" for release, count in visitors.newest.most_common(3))
        outside = len(failed_outside(visitors.answers, bad=self.bad))
        self.timeline.move(
            self.timeline.text("traffic", requests=f"{len(visitors.answers):,}", outside=outside, shares=shares or "–")
        )

    def _refuse_fatal(self, what: str, run: str, fatal: Collection[str], environment: str) -> None:
        for entry in self.seen:
            if entry.event.run == run and entry.kind in fatal and entry.event.environment in ("", environment):
                said = " ".join(str(entry.data.get("cause") or entry.data.get("reason") or "").split())[:300]
                raise DemoFailedError(f"No {what}: {entry.kind}. {said} See {self._url(run)}.")

    def _how_dead(self, run: str) -> str:
        record = self.world.run_records.find(run)
        if record is None or record.state not in DEAD_STATES:
            return ""
        return f"its run is {record.state}. {record.message}"

    def _url(self, run: str) -> str:
        return self.world.run_records.url(run) if run else "the Prefect UI"
