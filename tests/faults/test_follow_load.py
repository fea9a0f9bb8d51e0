"""`follow_load` and its policy on twins: approved once, out and back inside the bounds, out of everybody's way."""

from collections.abc import Generator
from typing import Any

import pytest
from boundaries_of_scale import SITES, Scaler
from plain_engine import Ended, PlainEngine, PlainRun
from stage import APPLICATION
from watched_world import Valve

from blocks.clock import MemoryClock
from blocks.world import use_world
from domain.errors import ConfigError
from domain.size import MIB, Size
from flows.follow_load import follow_load
from flows.load_policy import load_policy
from tasks.lease import environment_lease

POLICY = {
    "least": 2,
    "most": 6,
    "capacity": 40.0,
    "target_ratio": 0.5,
    "measure_s": 1,
    "window_s": 60,
    "cool_down_s": 0,
}


class Follower(Scaler):
    """A scaler whose environment follows its load."""

    def policy(self, *, decision: str = "approve", **changes: Any) -> Ended:
        self.number += 1
        given = {"application": APPLICATION, "environment": "production", **POLICY, **changes}
        self.run = PlainRun(f"policy-{self.number}", load_policy, given)
        return self.drive(self.run, decision=decision)

    def look(self, *, users_per_s: int | None = None, later_s: float = 60) -> dict[str, int]:
        """One run of `follow_load`, a while later, at a load."""
        ended = self.process(self.look_run(users_per_s=users_per_s, later_s=later_s))
        assert ended.state == "completed", ended.value
        return ended.value

    def look_run(self, *, users_per_s: int | None = None, later_s: float = 60) -> PlainRun:
        self.theatre.engine.clock = self.theatre.world.clock
        self.theatre.world.clock.sleep(later_s)
        if users_per_s is not None:
            for site in SITES:
                self.theatre.world.sites["production", site].metrics.users_per_s = users_per_s
        self.number += 1
        self.run = PlainRun(f"look-{self.number}", follow_load, {})
        return self.run

    def decided(self) -> tuple[str, str]:
        clock = self.theatre.world.clock
        newest = self.theatre.world.load_history.looks(
            APPLICATION, "production", since=clock.now().replace(year=clock.now().year - 1)
        )[-1]
        return newest.decided, newest.detail

    @property
    def instances(self) -> set[int]:
        return {len(self.serving(site)) for site in SITES}


@pytest.fixture
def follower() -> Generator[Follower]:
    with PlainEngine(MemoryClock()).installed() as engine:
        yield Follower(engine)
    use_world(None)


def test_without_a_policy_nothing_is_measured_and_nothing_done(follower: Follower) -> None:
    assert follower.look(users_per_s=1000) == {"policies": 0, "changed": 0}
    assert follower.instances == {2} and not follower.entries("scale.begun")


def test_out_at_once_and_back_when_it_lasted_without_asking_anybody(follower: Follower) -> None:
    assert follower.policy().state == "completed"
    assert follower.look(users_per_s=100) == {"policies": 1, "changed": 1}
    assert follower.instances == {5} and follower.size == Size(instances=5)
    done = follower.entries("scale.completed")[-1]
    assert done.data["by"] == "follow_load" and done.data["load"] == 100.0 and done.data["policy"]
    assert not follower.entries("scale.requested")
    assert follower.look(users_per_s=100)["changed"] == 0 and follower.decided()[0] == "steady"
    assert follower.look(users_per_s=10, later_s=30)["changed"] == 0 and follower.decided()[0] == "watching"
    assert follower.look(users_per_s=10, later_s=61)["changed"] == 1
    assert follower.instances == {2} and follower.decided() == ("in", "2")
    assert follower.theatre.unserved == []


def test_it_never_leaves_the_bounds(follower: Follower) -> None:
    follower.policy()
    follower.look(users_per_s=5000)
    assert follower.instances == {6}
    follower.look(users_per_s=0, later_s=500)
    follower.look(users_per_s=0, later_s=500)
    assert follower.instances == {2}


def test_a_limit_that_a_person_set_stays(follower: Follower) -> None:
    follower.scale(memory_bytes=64 * MIB)
    follower.policy()
    follower.look(users_per_s=100)
    assert follower.size == Size(instances=5, memory_bytes=64 * MIB)


def test_after_a_change_it_cools_down(follower: Follower) -> None:
    follower.policy(cool_down_s=80_000)
    follower.look(users_per_s=60)
    assert follower.instances == {3}
    follower.look(users_per_s=200)
    assert follower.instances == {3} and follower.decided()[0] == "cooling"


def test_a_rollout_under_way_is_left_alone_and_that_is_said(follower: Follower) -> None:
    follower.policy()
    follower.begin_rollout()
    assert follower.look(users_per_s=100)["changed"] == 0
    word, why = follower.decided()
    assert word == "busy" and "is under way" in why
    assert not follower.entries("scale.begun")
    assert "under way" in follower.theatre.world.screen.reports[f"load-{APPLICATION}-production"][-1]


def test_a_lease_that_somebody_has_is_not_waited_for(follower: Follower) -> None:
    follower.policy()
    lease = environment_lease(APPLICATION, "production")
    run = follower.look_run(users_per_s=100)
    follower.theatre.world.leases.acquire(lease, owner="somebody", ttl_s=600)
    before = follower.theatre.world.clock.now()
    assert follower.process(run).value["changed"] == 0
    assert (follower.theatre.world.clock.now() - before).total_seconds() < 5
    assert "somebody" in follower.decided()[1]


def test_a_load_that_can_not_be_read_changes_nothing_and_is_said(follower: Follower) -> None:
    follower.policy()
    follower.theatre.world.sites["production", "alpha"].metrics.is_away = True
    assert follower.look(users_per_s=100)["changed"] == 0
    assert follower.decided()[0] == "unknown"
    assert follower.instances == {2}


def test_a_load_balancer_that_was_started_anew_makes_no_false_load(follower: Follower) -> None:
    follower.policy()
    follower.look(users_per_s=100)
    for site in SITES:
        follower.theatre.world.sites["production", site].metrics.restart()
    follower.look(users_per_s=100)
    assert follower.instances == {5}


def test_new_instances_that_do_not_get_healthy_go_back_and_that_is_said(follower: Follower) -> None:
    follower.policy()
    for site in SITES:
        follower.target(site).state_at_start = "failed"
    assert follower.look(users_per_s=100)["changed"] == 0
    assert follower.decided()[0] == "failed" and follower.instances == {2} and follower.size == Size()
    assert follower.theatre.unserved == []


def test_cores_are_followed_too(follower: Follower) -> None:
    follower.policy(unit="cores", capacity=1.0)
    target = follower.target("alpha")
    clock = follower.theatre.world.clock
    sleep = clock.sleep

    def work(seconds: float) -> None:
        target.cpu_used_s += 2.0 * seconds  # two cores
        sleep(seconds)

    run = follower.look_run()
    clock.sleep = work  # type: ignore[method-assign]
    assert follower.process(run).value["changed"] == 1
    assert follower.instances == {4}


def test_a_policy_is_in_force_only_with_an_answer_that_counts(follower: Follower) -> None:
    assert follower.policy(decision="reject").value.name == "Rejected"
    assert follower.look(users_per_s=100)["policies"] == 0
    follower.answers_at_most = 1
    follower.policy(requester="ann")
    assert [entry.data["refusal"] for entry in follower.entries("load_policy.refused")] == ["self"]
    assert follower.look(users_per_s=100)["policies"] == 0


def test_a_policy_that_was_taken_back_is_followed_no_more(follower: Follower) -> None:
    follower.policy()
    assert follower.policy().value.message.startswith("That is the policy")
    follower.policy(withdraw=True)
    assert follower.look(users_per_s=100) == {"policies": 0, "changed": 0}


def test_a_policy_that_can_not_be_followed_asks_nobody(follower: Follower) -> None:
    ended = follower.policy(least=9)
    assert isinstance(ended.value, ConfigError) and "least = 9 is more than most" in str(ended.value)
    assert not follower.entries("load_policy.requested")


def test_people_see_load_instances_and_decisions(follower: Follower) -> None:
    follower.policy()
    follower.look(users_per_s=100)
    report = follower.theatre.world.screen.reports[f"load-{APPLICATION}-production"][-1]
    assert "data:image/svg+xml;base64," in report and len(report) < 200_000
    assert "| 100 requests/s | 125 % | 2 | 5 instances: the load is above the target |" in report


def test_killed_anywhere_the_next_look_or_reconcile_makes_it_whole() -> None:
    """Its process dies before each change that it makes, one after the other."""
    names = _killed_before(10_000)[1]
    broken = {
        f"{number}. {name}": problems for number, name in enumerate(names) if (problems := _killed_before(number)[0])
    }
    assert "entry scale.completed production" in names and not broken


def _killed_before(number: int) -> tuple[list[str], list[str]]:
    """Let a look die before its change of this number, reconcile, and look again; what does not hold, and the changes
    that were made."""
    with PlainEngine(MemoryClock()).installed() as engine:
        follower = Follower(engine)
        follower.policy()
        seen: list[str] = []

        def dies(name: str) -> bool:
            seen.append(name)
            return len(seen) == number + 1

        run = follower.look_run(users_per_s=100)
        follower.process(run, Valve(dies_before=dies, after=follower.theatre.look))
        follower.theatre._tell(run, "crashed")
        follower.theatre.reconcile(1)
        problems = follower.complaints()
        follower.look(users_per_s=100, later_s=120)
        problems += follower.complaints() + ([] if follower.instances == {5} else [f"{follower.instances}"])
    use_world(None)
    return problems, seen
