"""A release takes an environment, or leaves it as it was."""

from stage import APPLICATION, FILE, Stage, approve

from blocks.memory_world import Behaviour
from domain.service import Outcome
from flows.rollout_canary import rollout_canary
from flows.rollout_direct import rollout_direct

SITES = ("alpha", "beta")


def canary(
    release: str, *, live: str = "", run: str = "run-1", first_step: int = 0, attempt: int = 0
) -> dict[str, str]:
    approve(release, run=run)
    return rollout_canary(run, APPLICATION, "production", release, live, first_step, attempt)


def direct(release: str, *, run: str = "run-1", environment: str = "test") -> dict[str, str]:
    return rollout_direct(run, APPLICATION, environment, release, True)


def go_live(stage: Stage, letter: str = "a") -> str:
    release = stage.pin(letter)
    assert canary(release, run=f"run-{letter}")["outcome"] == "completed"
    return release


def test_a_release_takes_the_test_environment_after_migrations_and_acceptance_tests(stage: Stage):
    release = stage.pin("a")
    assert direct(release) == {"outcome": "completed", "cause": ""}
    assert stage.serving("test", "main") == {release: 100}
    kinds = stage.kinds(environment="test")
    wanted = ["rollout.begun", "migration.ended", "start.completed", "traffic.shifted", "acceptance.ended"]
    assert [kind for kind in kinds if kind in wanted] == wanted
    assert kinds[-1] == "rollout.completed"
    assert stage.world.leases.held() == []


def test_failed_acceptance_tests_bring_the_old_release_back(stage: Stage):
    old = stage.pin("a")
    direct(old, run="run-a")
    bad = stage.pin("b")
    stage.world.target("test", "main").answer = lambda command: Outcome(
        exit_code=1 if command.command == ("accept",) else 0, seconds=1, tail="AssertionError: no ticket"
    )
    ended = direct(bad, run="run-b")
    assert ended["outcome"] == "failed" and "AssertionError: no ticket" in ended["cause"]
    assert stage.serving("test", "main") == {old: 100}
    assert stage.running("test", "main") == {old}


def test_a_failed_migration_leaves_the_old_release_serving_and_starts_nothing(stage: Stage):
    old = go_live(stage)
    bad = stage.pin("b")
    stage.world.target("production", "alpha").answer = lambda command: Outcome(exit_code=1, seconds=1, tail="locked")
    ended = canary(bad, live=old)
    assert ended["outcome"] == "failed" and "locked" in ended["cause"]
    for site in SITES:
        assert stage.serving("production", site) == {old: 100}
        assert stage.running("production", site) == {old}
    assert "traffic.shifted" not in stage.kinds(run="run-1", release=bad)


def test_a_release_that_never_becomes_healthy_is_stopped_with_its_last_lines(stage: Stage):
    old = go_live(stage)
    bad = stage.pin("b")
    for site in SITES:
        stage.world.target("production", site).state_at_start = "failed"
        stage.world.target("production", site).last_words = {bad: ["ValueError: no such column"]}
    ended = canary(bad, live=old)
    assert ended["outcome"] == "failed" and "ValueError: no such column" in ended["cause"]
    for site in SITES:
        assert stage.serving("production", site) == {old: 100}
        assert stage.running("production", site) == {old}
    assert "incident.opened" in stage.kinds(release=bad)
    assert stage.kinds(release=bad)[-3:].count("digest.blocked") == 0


def test_a_good_release_takes_standby_then_canary_then_all_and_the_old_one_stays_warm(stage: Stage):
    old = go_live(stage)
    new = stage.pin("b")
    assert canary(new, live=old)["outcome"] == "completed"
    shifts = [
        (entry.event.site, entry.data["shares"].get(new[:12]))
        for entry in stage.world.ledger.entries(kinds=["traffic.shifted"], run="run-1")
    ]
    assert shifts == [("beta", 100), ("alpha", 20), ("alpha", 100)]
    for site in SITES:
        assert stage.serving("production", site) == {new: 100}
        assert stage.running("production", site) == {old, new}
    verdicts = stage.world.ledger.entries(kinds=["verdict.given"], run="run-1")
    assert [entry.data["verdict"] for entry in verdicts] == ["PASS", "PASS"]


def test_only_the_last_release_stays_warm(stage: Stage):
    first = go_live(stage, "a")
    second, third = stage.pin("b"), stage.pin("c")
    canary(second, live=first, run="run-b")
    canary(third, live=second, run="run-c")
    assert stage.running("production", "alpha") == {second, third}


def test_a_canary_that_fails_requests_is_rolled_back_on_every_site_and_blocked(stage: Stage):
    old = go_live(stage)
    bad = stage.pin("b")
    stage.world.behaviour[bad] = Behaviour(fails_every=3)
    ended = canary(bad, live=old)
    assert ended["outcome"] == "rolled_back"
    for site in SITES:
        assert stage.serving("production", site) == {old: 100}
        assert stage.running("production", site) == {old}
    kinds = stage.kinds(release=bad)
    for needed in ("verdict.given", "digest.blocked", "rollout.rolled_back", "incident.opened"):
        assert needed in kinds
    rolled_back = stage.world.ledger.entries(kinds=["rollout.rolled_back"])[0]
    assert (rolled_back.data["to"], rolled_back.data["verified"]) == (old, "yes")
    assert stage.world.notifier.messages


def test_a_canary_that_is_slow_is_rolled_back(stage: Stage):
    old = go_live(stage)
    bad = stage.pin("b", file=FILE.replace("watch_s = 6", "watch_s = 40"))
    stage.world.behaviour[bad] = Behaviour(seconds=0.4)
    assert canary(bad, live=old)["outcome"] == "rolled_back"
    assert stage.serving("production", "alpha") == {old: 100}


def test_too_little_traffic_is_unclear_holds_the_share_and_does_not_pass(stage: Stage):
    old = go_live(stage)
    new = stage.pin("b")
    stage.world.sites["production", "alpha"].metrics.users_per_s = 1
    ended = canary(new, live=old)
    assert (ended["outcome"], ended["step"]) == ("unclear", "1")
    assert stage.serving("production", "alpha") == {new: 20, old: 80}
    assert stage.world.leases.held() == []
    assert "rollout.completed" not in stage.kinds(run="run-1")


def test_after_a_person_said_proceed_the_rollout_goes_on_from_the_next_step(stage: Stage):
    old = go_live(stage)
    new = stage.pin("b")
    stage.world.sites["production", "alpha"].metrics.users_per_s = 1
    canary(new, live=old)
    stage.world.sites["production", "alpha"].metrics.users_per_s = 200
    ended = canary(new, live=old, first_step=2, attempt=1)
    assert ended["outcome"] == "completed"
    assert stage.serving("production", "alpha") == {new: 100}


def test_a_change_of_what_is_live_since_the_approval_is_drift(stage: Stage):
    old = go_live(stage)
    new = stage.pin("b")
    assert canary(new, live="c" * 64)["outcome"] == "drifted"
    assert stage.serving("production", "alpha") == {old: 100}


def test_a_release_that_turns_bad_after_full_share_is_rolled_back(stage: Stage):
    old = go_live(stage)
    new = stage.pin("b")

    class TurnsBad(dict[str, Behaviour]):
        def get(self, key: str, default: Behaviour | None = None) -> Behaviour | None:
            full = stage.serving("production", "alpha") == {new: 100}
            return Behaviour(fails_every=2) if key == new and full else default

    stage.world.sites["production", "alpha"].metrics._behaviour = TurnsBad()
    assert canary(new, live=old)["outcome"] == "rolled_back"
    assert stage.serving("production", "alpha") == {old: 100}
