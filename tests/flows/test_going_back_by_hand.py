"""Going back by hand, and becoming part of the ledger: on twins, without a Prefect server wherever it has none."""

from dataclasses import dataclass
from typing import Any

import pytest
from stage import APPLICATION, Stage, approve
from test_settling import Person, back

from blocks.memory_ledger import MemoryLedger
from blocks.memory_target import MemoryTarget
from domain.errors import RefusedError, TransientError
from domain.ledger import Entry, Event, verify_chain
from domain.rollout import SETTLING_KINDS, live_release
from domain.schema import Declaration, describe_migration
from flows.break_glass import Returned, go_back, settle_journals
from flows.reconcile import reconcile
from flows.rollout_canary import rollout_canary
from tasks.recording import without_engine


def canary(
    release: str, *, live: str = "", run: str = "run-1", first_step: int = 0, attempt: int = 0
) -> dict[str, str]:
    """A rollout without the engine: quicker, and what stops it is the same."""
    approve(release, run=run)
    with without_engine():
        return rollout_canary.fn(run, APPLICATION, "production", release, live, first_step, attempt)


def go_live(stage: Stage, letter: str = "a") -> str:
    release = stage.pin(letter)
    assert canary(release, run=f"run-{letter}")["outcome"] == "completed"
    return release


class _LedgerAway(MemoryLedger):
    """What break-glass sees: the copy to read, its journal to write."""

    def __init__(self, copy: MemoryLedger, journal: MemoryLedger) -> None:
        super().__init__()
        self._copy, self._journal = copy, journal

    def append(self, event: Event) -> Entry:
        return self._journal.append(event)

    def entries(self, **filters: object) -> list[Entry]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return [*self._copy.entries(**filters), *self._journal.entries(**filters)]  # pyright: ignore[reportArgumentType]


class _Mortal:
    """A target at which the process that stops instances dies."""

    def __init__(self, target: MemoryTarget) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        if name == "stop":
            raise KeyboardInterrupt
        return getattr(self._target, name)


class _Mute:
    """A load balancer that does not answer."""

    def __getattr__(self, name: str) -> Any:
        raise TransientError("Traefik of production-alpha does not answer.")


@dataclass
class Night:
    """A night in which the ledger is away, and what one administrator does about it."""

    stage: Stage
    ann: Person

    def go_back(self, *, run: str = "act-1", code: str = "", **changes: str) -> Returned:
        world = self.stage.world
        ledger = world.ledger
        journal = world.break_glass.journal(run)
        assert isinstance(journal, MemoryLedger)
        world.ledger = _LedgerAway(ledger, journal)
        given = {"application": APPLICATION, "environment": "production", "reason": "all answers are 500", **changes}
        try:
            return go_back(run=run, administrator=self.ann.name, code=code or self.ann.code, **given)
        finally:
            world.ledger = ledger

    def again(self) -> Returned:
        """Another attempt, by somebody else: a code is good once."""
        return Night(self.stage, Person(self.stage, "zoe", "administrator")).go_back(run="act-2")

    def settle(self) -> list[str]:
        with without_engine():
            return settle_journals()

    def live(self) -> str:
        entries = self.stage.world.ledger.entries(kinds=SETTLING_KINDS, environment="production")
        return live_release(entries)


@pytest.fixture
def night(stage: Stage) -> Night:
    return Night(stage, Person(stage, "ann", "administrator"))


def released(stage: Stage) -> tuple[str, str]:
    old = go_live(stage)
    new = stage.pin("b")
    canary(new, live=old, run="run-b")
    return old, new


def test_it_goes_back_on_every_site_and_the_ledger_learns_of_it_once(night: Night):
    stage = night.stage
    old, new = released(stage)
    before = len(stage.world.ledger.entries())
    done = night.go_back()
    assert (done.to, done.left, done.is_there, done.problem) == (old, new, True, "")
    for site in ("alpha", "beta"):
        assert stage.serving("production", site) == {old: 100}
        assert stage.running("production", site) == {old}
    assert len(stage.world.ledger.entries()) == before and night.live() == new, "the ledger was away"
    assert len(night.settle()) == 1 and night.settle() == []
    assert night.live() == old
    (completed,) = stage.world.ledger.entries(kinds=["rollback.completed"])
    assert (completed.event.actor, completed.data["reason"]) == ("ann", "all answers are 500")
    assert completed.data["break_glass"]["at"] and completed.at.isoformat() > completed.data["break_glass"]["at"]
    assert stage.world.ledger.entries(kinds=["digest.blocked"])[0].event.release == new
    assert stage.world.ledger.entries(kinds=["incident.opened"])[0].data["severity"] == "P1"
    assert len(stage.world.ledger.entries(kinds=["rollback.authorised"])) == 1
    assert verify_chain(stage.world.ledger.entries()).broken_at is None


def test_a_rollout_under_way_stops_at_its_next_effect_and_is_closed_with_the_reason(night: Night):
    stage = night.stage
    old = go_live(stage)
    new = stage.pin("b")
    stage.world.sites["production", "alpha"].metrics.users_per_s = 1
    assert canary(new, live=old, run="run-b")["outcome"] == "unclear"
    assert night.go_back().to == old
    with pytest.raises(Exception, match="rolled back by hand"):
        canary(new, live=old, run="run-b", first_step=2, attempt=1)
    assert stage.serving("production", "alpha") == {old: 100}
    night.settle()
    (closed,) = stage.world.ledger.entries(kinds=["rollout.rolled_back"])
    assert (closed.event.run, closed.data["to"]) == ("run-b", old)
    assert "break-glass rollback by ann" in closed.data["cause"]
    assert canary(new, live=old, run="run-b", first_step=2, attempt=2)["outcome"] == "rolled_back", "it is closed"
    with (
        pytest.raises(RefusedError, match="must not go on"),
        stage.world.break_glass.guarded(APPLICATION, "production", run="run-b"),
    ):
        pytest.fail("refused before the effect")
    assert reconcile()["rollouts"] == 0, "nothing is left to settle"
    assert stage.serving("production", "alpha") == {old: 100} and stage.world.leases.held() == []


def test_until_the_ledger_knows_nobody_else_acts_there_and_elsewhere_everybody_may(night: Night):
    stage = night.stage
    old, _ = released(stage)
    night.go_back()
    with (
        pytest.raises(RefusedError, match="Run `slipway up`"),
        stage.world.break_glass.guarded(APPLICATION, "production", run="run-c"),
    ):
        pytest.fail("refused before the effect")
    with stage.world.break_glass.guarded(APPLICATION, "staging", run="run-c"):
        pass
    night.settle()
    third = stage.pin("c")
    assert canary(third, live=old, run="run-c")["outcome"] == "completed"


def test_what_was_cut_off_is_finished_in_its_direction_by_reconcile(night: Night):
    stage = night.stage
    old, new = released(stage)
    target = stage.world.target
    stage.world.target = lambda environment, site: _Mortal(target(environment, site))
    with pytest.raises(KeyboardInterrupt):
        night.go_back()
    stage.world.target = target
    assert reconcile()["rollouts"] == 1
    assert night.live() == old
    for site in ("alpha", "beta"):
        assert stage.serving("production", site) == {old: 100}
        assert stage.running("production", site) == {old}
    assert stage.world.break_glass.marks() == [] and new


def test_one_site_that_does_not_answer_does_not_keep_the_other_on_the_bad_release(night: Night):
    stage = night.stage
    old, new = released(stage)
    balancer = stage.world.balancer
    stage.world.balancer = lambda environment, site: _Mute() if site == "alpha" else balancer(environment, site)
    done = night.go_back()
    assert not done.is_there and "alpha" in done.problem
    assert stage.serving("production", "beta") == {old: 100}
    assert stage.running("production", "alpha") == {old, new}, "what still has traffic is not stopped"
    stage.world.balancer = balancer
    assert night.again().is_there
    night.settle()
    assert night.live() == old


def test_what_lives_but_is_not_ready_takes_the_traffic_all_the_same(night: Night):
    stage = night.stage
    old, _ = released(stage)
    probe = stage.world.prober.probe
    stage.world.prober.probe = lambda url, host=None, timeout_s=5: (
        probe("http://nobody/", None) if url.endswith("/readyz") else probe(url, host, timeout_s)
    )
    done = night.go_back()
    assert done.is_there and stage.serving("production", "alpha") == {old: 100}


@pytest.mark.parametrize(
    ("change", "words"),
    [({"code": "000000"}, "wrong or too old"), ({"reason": " "}, "needs a reason"), ({"release": "f" * 64}, "pinned")],
)
def test_it_is_refused_as_the_usual_rollback_is(night: Night, change: dict[str, str], words: str):
    _, new = released(night.stage)
    with pytest.raises(Exception, match=words):
        night.go_back(**change)
    assert night.stage.serving("production", "alpha") == {new: 100}
    assert night.stage.world.break_glass.marks() == []


def test_a_release_that_cannot_read_what_was_migrated_since_is_refused_and_nothing_is_changed(night: Night):
    stage = night.stage
    _, new = released(stage)
    declared = describe_migration(Declaration(False, ""), own=["0001_drop_subject"], live=[])
    facts = {"result": "applied", "migrations": ["0001_drop_subject"], **declared}
    stage.world.ledger.append(Event("migration.ended", APPLICATION, "production", release=new, data=facts))
    with pytest.raises(RefusedError, match=r"can't come back: .*0001_drop_subject"):
        night.go_back()
    assert stage.serving("production", "alpha") == {new: 100} and stage.world.break_glass.marks() == []


def test_the_usual_rollback_works_again_afterwards(night: Night):
    stage = night.stage
    first, second = released(stage)
    third = stage.pin("c")
    canary(third, live=second, run="run-c")
    assert night.go_back().to == second
    night.settle()
    assert back(Person(stage, "bea", "administrator"))["release"] == first
