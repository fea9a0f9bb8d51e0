"""Scaling on twins: asked for, more beside what serves, less when it is idle, back by itself, and kept afterwards."""

from typing import Any

import pytest
from boundaries_of_scale import Scaler
from plain_engine import PlainEngine, PlainRun
from stage import APPLICATION, FILE
from watched_world import Valve

from blocks.clock import MemoryClock
from blocks.world import use_world
from domain.break_glass import Mark
from domain.capacity import read_plan
from domain.errors import ConfigError, RefusedError
from domain.scaling import explain_size
from domain.service import Limits
from domain.size import MIB, Size
from tasks.scaling import look_at_size, start_beside

SITES = ("alpha", "beta")


@pytest.fixture
def scaler() -> Any:
    with PlainEngine(MemoryClock()).installed() as engine:
        yield Scaler(engine)
    use_world(None)


def test_more_instances_serve_on_every_site_and_the_old_ones_are_untouched(scaler: Scaler) -> None:
    before = scaler.addresses()
    ended = scaler.scale(instances=4)
    assert ended.state == "completed", ended.value
    for site in SITES:
        assert len(scaler.serving(site)) == 4 and scaler.serving(site) > before[site]
    assert scaler.size == Size(instances=4)
    kinds = scaler.kinds()
    assert kinds.index("scale.granted") < kinds.index("scale.begun") < kinds.index("resize.begun")
    assert kinds.index("resize.completed") < kinds.index("traffic.begun") < kinds.index("scale.completed")


def test_fewer_instances_lose_their_traffic_before_they_are_retired(scaler: Scaler) -> None:
    scaler.scale(instances=4)
    ended = scaler.scale(instances=1)
    assert ended.state == "completed", ended.value
    for site in SITES:
        assert len(scaler.serving(site)) == 1
        assert {one.url for one in scaler.live_instances(site)} == scaler.serving(site)
    last = [entry.kind for entry in scaler.entries(run=scaler.run.id) if entry.event.site == "alpha"]
    assert last.index("traffic.shifted") < last.index("retirement.begun")
    assert scaler.theatre.unserved == []


def test_limits_replace_every_instance_beside_the_old_ones(scaler: Scaler) -> None:
    before = scaler.addresses()
    ended = scaler.scale(memory_bytes=256 * MIB, cpu_share=0.5)
    assert ended.state == "completed", ended.value
    for site in SITES:
        assert not scaler.serving(site) & before[site]
        assert {one.limits for one in scaler.live_instances(site)} == {Limits(256 * MIB, 0.5)}
    assert scaler.theatre.unserved == []


def test_what_a_place_can_not_hold_is_said_and_is_no_failure(scaler: Scaler) -> None:
    for site in SITES:
        scaler.target(site).cannot_hold = frozenset({"cpu_share"})
    assert scaler.scale(cpu_share=0.5, memory_bytes=64 * MIB).state == "completed"
    (done,) = scaler.entries("scale.completed")
    assert done.data["not_held"] == ["cpu_share: not here"]


def test_a_limit_that_is_not_in_force_although_it_could_be_goes_back(scaler: Scaler) -> None:
    before = scaler.addresses()
    scaler.target("beta").drops = "memory_bytes"
    ended = scaler.scale(memory_bytes=64 * MIB)
    assert ended.state == "failed"
    (back,) = scaler.entries("scale.rolled_back")
    assert "memory_bytes is not limited" in back.data["cause"] and back.data["verified"] == "yes"
    assert scaler.addresses() == before and scaler.size == Size()


def test_a_new_size_that_does_not_get_healthy_goes_back_on_every_site(scaler: Scaler) -> None:
    before = scaler.addresses()
    scaler.target("alpha").state_at_start = "failed"  # the primary, which comes after the standby
    ended = scaler.scale(instances=3)
    assert ended.state == "failed" and "not ready" in str(ended.value.message)
    assert scaler.addresses() == before and scaler.size == Size()
    assert {len(scaler.live_instances(site)) for site in SITES} == {2}
    assert [entry.kind for entry in scaler.entries("incident.opened")] == ["incident.opened"]
    assert scaler.theatre.unserved == []


def test_the_size_survives_a_rollout_a_rollback_and_a_change_of_settings(scaler: Scaler) -> None:
    scaler.scale(instances=3, memory_bytes=64 * MIB)
    scaler.deliver("b")
    assert {len(scaler.serving(site)) for site in SITES} == {3}
    scaler.theatre.drive(scaler.theatre.roll_back())
    for site in SITES:
        assert len(scaler.serving(site)) == 3
        assert {one.limits for one in scaler.live_instances(site)} == {Limits(64 * MIB)}
    scaler.theatre.world.settings.change(APPLICATION, "production", actor="carol", config={"TITLE": "New"})
    scaler.deliver("c")
    assert {len(scaler.serving(site)) for site in SITES} == {3}


def test_zero_takes_what_was_said_away_again(scaler: Scaler) -> None:
    scaler.scale(instances=3, memory_bytes=64 * MIB)
    scaler.scale(instances=0, memory_bytes=0)
    assert scaler.size == Size()
    assert {len(scaler.serving(site)) for site in SITES} == {2}


def test_the_same_size_again_asks_nobody(scaler: Scaler) -> None:
    scaler.scale(instances=3)
    ended = scaler.scale(instances=3)
    assert ended.state == "completed" and "already" in str(ended.value.message)
    assert not scaler.entries("scale.requested", run=scaler.run.id)


def test_a_no_changes_nothing(scaler: Scaler) -> None:
    before = scaler.addresses()
    ended = scaler.scale(instances=3, decision="reject")
    assert ended.value.name == "Rejected"
    assert scaler.addresses() == before
    assert not scaler.entries("scale.begun") and not scaler.entries("resize.begun")


@pytest.mark.parametrize("asked_by", ["ann", "ANN"])
def test_who_asked_can_not_approve(scaler: Scaler, asked_by: str) -> None:
    run = scaler.new_run(instances=3, requester=asked_by)
    scaler.answers_at_most = 1
    scaler.drive(run)
    (refused,) = scaler.entries("scale.refused")
    assert refused.data["refusal"] == "self" and not scaler.entries("scale.begun")


def test_an_answer_to_what_does_not_hold_any_more_is_refused_and_asked_again(scaler: Scaler) -> None:
    run = scaler.new_run(instances=3)
    waiting = scaler.process(run)
    assert waiting.state == "paused"
    scaler.deliver("b")
    scaler.drive(run)
    assert [entry.data["refusal"] for entry in scaler.entries("scale.refused")] == ["drift"]
    assert scaler.entries("scale.completed")[-1].event.release == scaler.theatre.live
    assert {len(scaler.serving(site)) for site in SITES} == {3}


def test_the_form_shows_what_it_costs_and_another_price_is_asked_about_again(scaler: Scaler) -> None:
    def price(per_month: float) -> None:
        prices = [{"resources": "memory:production:*", "per_month": per_month, "per": "1 GiB"}]
        scaler.theatre.world.capacity.plan = read_plan({"prices": prices})

    price(8)
    run = scaler.new_run(instances=3, memory_bytes=512 * MIB)
    assert scaler.process(run).state == "paused"
    change = (("instances", 3), ("memory_bytes", 512 * MIB))
    shown = look_at_size(APPLICATION, "production", change, "more users", "")
    # three instances of half a gibibyte on two sites
    assert "**24.00 (+24.00)**" in explain_size(shown, deadline="tomorrow")
    price(16)
    assert scaler.drive(run).state == "completed"
    assert [entry.data["refusal"] for entry in scaler.entries("scale.refused")] == ["drift"]
    assert scaler.size == Size(3, 512 * MIB)


def test_prices_that_can_not_be_read_stop_no_change_of_size(scaler: Scaler) -> None:
    class Broken:
        def read(self) -> Any:
            return read_plan({"price": []})

    scaler.theatre.world.capacity = Broken()  # pyright: ignore[reportAttributeAccessIssue]
    assert scaler.scale(instances=3).state == "completed"


def test_without_an_approval_in_the_ledger_no_instance_is_started(scaler: Scaler) -> None:
    with pytest.raises(RefusedError, match="Nothing in the ledger lets run evil"):
        start_beside.fn("evil", APPLICATION, "production", "alpha", scaler.theatre.live, Size(instances=9), "x")
    assert scaler.entries("effect.refused", run="evil") and not scaler.entries("resize.begun")


def test_a_rollout_under_way_is_not_disturbed(scaler: Scaler) -> None:
    scaler.begin_rollout()
    ended = scaler.scale(instances=3)
    assert ended.value.name == "Refused" and "is under way" in str(ended.value.message)
    assert not scaler.entries("resize.begun")


def test_an_environment_that_was_taken_back_by_hand_meanwhile_is_touched_no_more_not_even_back(scaler: Scaler) -> None:
    glass = scaler.theatre.world.break_glass
    mark = Mark(APPLICATION, "production", "glass-1", "ann", "fire", "2026-03-02T12:00:00Z")

    def take_back(name: str) -> None:
        if name == "target.resize production/beta":
            glass.mark(mark)

    run = scaler.new_run(instances=3)
    ended = scaler.drive(run, Valve(before=take_back))
    assert ended.state == "failed" and "by hand" in str(ended.value)
    after = [entry.kind for entry in scaler.entries(run=run.id)]
    assert after[-1] == "resize.completed" and "scale.rolled_back" not in after
    # when that is over, reconcile finishes what was left
    glass.settle("glass-1", halted=[run.id])
    scaler.theatre._tell(run, "failed")
    assert scaler.theatre.reconcile(1).state == "completed"
    assert scaler.complaints() == [] and scaler.size == Size()


def test_a_rollout_finishes_what_a_dead_change_of_size_left_before_it_begins(scaler: Scaler) -> None:
    run = scaler.new_run(instances=4)
    scaler.drive(run, Valve(dies_before=lambda name: name == "entry resize.completed production/alpha"))
    assert {len(scaler.live_instances(site)) for site in SITES} == {4}
    scaler.theatre.world.clock.sleep(60)  # the lease of who died is over
    scaler.deliver("b")
    kinds = [entry.kind for entry in scaler.entries() if entry.event.environment == "production"]
    assert kinds.index("scale.rolled_back") < len(kinds) - 1 - kinds[::-1].index("rollout.begun")
    assert {len(scaler.serving(site)) for site in SITES} == {2} and scaler.complaints() == []


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"instances": 1000}, ConfigError, "instances = 1000 is not possible. Give 1 to 64"),
        ({"instances": -1}, ConfigError, "instances = -1"),
        ({"memory_bytes": 1000}, ConfigError, "memory_bytes = 1000 is not possible"),
        ({"cpu_share": 0.001}, ConfigError, "cpu_share"),
        ({"workers": 2}, RefusedError, "workers_variable"),
        ({"instances": 3, "reason": " "}, RefusedError, "needs a reason"),
    ],
)
def test_bad_input_is_refused_before_anybody_is_asked(
    scaler: Scaler, change: dict[str, Any], error: type[Exception], match: str
) -> None:
    ended = scaler.process(scaler.new_run(**change))
    assert isinstance(ended.value, error) and match in str(ended.value)
    assert not scaler.entries("scale.requested")


def test_what_nothing_is_live_of_is_not_scaled(scaler: Scaler) -> None:
    run = scaler.new_run(instances=3)
    run.parameters["environment"] = "development"
    ended = scaler.process(run)
    assert isinstance(ended.value, ConfigError), "no such environment in memory"


def test_workers_reach_the_command_and_the_variable_that_slipway_toml_names() -> None:
    service = '[service]\nworkers_variable = "WEB_CONCURRENCY"\ncommand = ["serve", "{port}", "--workers={workers}"]'
    file = FILE.replace('[service]\ncommand = ["serve", "{port}"]', service)
    with PlainEngine(MemoryClock()).installed() as engine:
        scaler = Scaler(engine, file=file)
        assert scaler.scale(workers=4).state == "completed"
        spec = scaler.target("alpha")._specs[scaler.theatre.live]
        assert spec.environment["WEB_CONCURRENCY"] == "4" and spec.command[-1] == "--workers=4"
    use_world(None)


def test_test_and_staging_ask_nobody(scaler: Scaler) -> None:
    run = PlainRun(
        "scale-test",
        scaler.flow,
        {"application": APPLICATION, "environment": "staging", "reason": "x", "instances": 1},
    )
    assert scaler.process(run).state == "completed"
    assert len(scaler.theatre.world.target("staging", "main").instances(APPLICATION)) == 1
