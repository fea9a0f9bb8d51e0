"""What a store of usage promises, in memory and in PostgreSQL."""

from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from blocks.memory_usage_store import MemoryUsageStore
from blocks.postgres_session import PostgresSession
from blocks.usage_store_postgres import PostgresUsageStore
from domain.ports import UsageStore
from domain.usage import Interval, Keeping, Measured, Metric, Reading, Resource, as_time

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DISK = Resource(Metric.DISK, "db1", "/var: data")
CPU = Resource(Metric.CPU, "db1")


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> UsageStore:
    if request.param == "memory":
        return MemoryUsageStore()
    session: PostgresSession = request.getfixturevalue("ledger_session")
    with psycopg.connect(request.getfixturevalue("ledger_url"), autocommit=True) as connection:
        connection.execute("TRUNCATE usage.resource, usage.sample, usage.stretch, usage.reading")
    return PostgresUsageStore(session)


def measured(resource: Resource, begin: datetime, values: list[float], *, step: timedelta) -> Measured:
    times = np.array([as_time(begin + n * step) for n in range(len(values))], dtype="datetime64[s]")
    return Measured(resource, times, np.array(values))


def an_hour(begin: datetime, values: list[float], *, resource: Resource = CPU) -> tuple[Interval, Reading]:
    step = timedelta(hours=1) / len(values)
    return Interval(begin, begin + timedelta(hours=1)), Reading((measured(resource, begin, values, step=step),))


def test_nothing_was_read_yet(store: UsageStore):
    assert store.newest("machine") is None and store.resources() == [] and store.series(step_s=3600) == []


def test_what_comes_and_goes_is_kept_by_its_mean_and_what_piles_up_by_its_newest_value(store: UsageStore):
    interval, cpu = an_hour(NOON, [1.0, 2.0, 6.0])
    _, disk = an_hour(NOON, [10.0, 11.0, 15.0], resource=DISK)
    store.record("machine", interval, Reading((*cpu.measured, *disk.measured)))
    found = {one.name: one for one in store.series(step_s=3600)}
    assert found[CPU.key].values.tolist() == [3.0] and found[DISK.key].values.tolist() == [15.0]
    assert found[CPU.key].times.tolist() == [NOON.replace(tzinfo=None)]
    assert (found[DISK.key].unit, found[DISK.key].kind, found[DISK.key].step_s) == ("bytes", "growth", 3600)
    assert store.resources() == [CPU, DISK]


def test_the_same_interval_again_is_once_and_the_later_answer_counts(store: UsageStore):
    for values in ([1.0, 1.0], [1.0, 1.0], [4.0, 8.0]):
        store.record("machine", *an_hour(NOON, values))
    assert store.series(step_s=3600)[0].values.tolist() == [6.0]
    assert store.series(step_s=86400)[0].values.tolist() == [6.0]


def test_days_are_made_of_all_hours_also_of_those_read_late(store: UsageStore):
    for offset, values in ((2, [9.0]), (0, [1.0]), (1, [2.0])):
        store.record("machine", *an_hour(NOON + timedelta(hours=offset), values))
    assert store.series(step_s=86400)[0].values.tolist() == [4.0]
    assert store.series(step_s=3600)[0].values.tolist() == [1.0, 2.0, 9.0]


def test_a_source_replaces_only_what_it_said_itself(store: UsageStore):
    store.record("machine", *an_hour(NOON, [1.0]))
    store.record("postgres", *an_hour(NOON, [5.0], resource=DISK))
    store.record("machine", Interval(NOON, NOON + timedelta(hours=1)), Reading())
    assert [(one.name, one.values.tolist()) for one in store.series(step_s=3600)] == [(DISK.key, [5.0])]


def test_a_failure_is_a_gap_with_its_reason_until_it_was_read_after_all(store: UsageStore):
    hours = [NOON + timedelta(hours=n) for n in range(4)]
    store.record("machine", *an_hour(hours[0], [1.0]))
    store.fail("machine", Interval(hours[1], hours[2]), "refused a connection")
    store.record("machine", *an_hour(hours[2], [1.0]))
    (gap,) = store.gaps("machine", begin=hours[0], end=hours[3])
    assert (gap.interval, gap.reason) == (Interval(hours[1], hours[2]), "refused a connection")
    assert store.newest("machine") == hours[3]
    store.record("machine", *an_hour(hours[1], [1.0]))
    assert store.gaps("machine", begin=hours[0], end=hours[3]) == []
    store.fail("machine", Interval(hours[1], hours[2]), "too late to matter")
    assert store.gaps("machine", begin=hours[0], end=hours[3]) == []


def test_what_nobody_asked_for_is_a_gap_without_a_reason(store: UsageStore):
    store.record("machine", *an_hour(NOON, [1.0]))
    (gap,) = store.gaps("machine", begin=NOON - timedelta(hours=1), end=NOON + timedelta(hours=1))
    assert gap.interval == Interval(NOON - timedelta(hours=1), NOON) and gap.reason == ""


def test_each_resolution_is_forgotten_in_its_own_time(store: UsageStore):
    for days in (0, 10, 100):
        store.record("machine", *an_hour(NOON - timedelta(days=days), [1.0, 3.0]))
    assert store.prune(Keeping(raw_days=7, hour_days=70, day_days=800), now=NOON + timedelta(hours=1)) == 5
    assert [len(store.series(step_s=step_s)[0].values) for step_s in (3600, 86400)] == [2, 3]
    # what is left of a day whose samples have gone is not summed up from nothing
    assert store.prune(Keeping(), now=NOON + timedelta(hours=1)) == 0


def test_a_thousand_series_are_read_in_one_go(store: UsageStore):
    interval = Interval(NOON, NOON + timedelta(hours=1))
    many = [Resource(Metric.TABLE, "db", f"t{n:04}") for n in range(1000)]
    store.record("postgres", interval, Reading(tuple(measured(r, NOON, [1.0], step=timedelta(0)) for r in many)))
    found = store.series(step_s=86400, resources=many[:10])
    assert [one.name for one in found] == [resource.key for resource in many[:10]]
    assert len(store.series(step_s=86400)) == 1000
