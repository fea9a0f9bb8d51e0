"""What a store of outlooks promises, in memory and in PostgreSQL."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from blocks.memory_capacity import MemoryOutlookStore
from blocks.outlook_store_postgres import PostgresOutlookStore
from blocks.postgres_session import PostgresSession
from domain.advice import Advice, Move
from domain.forecast import BackTest
from domain.limits import Limit
from domain.outlook import Outlook
from domain.ports_capacity import OutlookStore
from domain.series import Remark
from domain.usage import Metric, Resource

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DISK = Resource(Metric.DISK, "db1", "/var: data|x")
CPU = Resource(Metric.CPU, "db1")


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> OutlookStore:
    if request.param == "memory":
        return MemoryOutlookStore()
    session: PostgresSession = request.getfixturevalue("ledger_session")
    with psycopg.connect(request.getfixturevalue("ledger_url"), autocommit=True) as connection:
        connection.execute("TRUNCATE usage.outlook, usage.advice, usage.alert")
    return PostgresOutlookStore(session)


def advice(wanted: float, *, parameters: dict[str, object] | None = None) -> Advice:
    reason = Remark("advice.later", {"resource": DISK.key, "size": 9.0, "wanted": wanted, "days": 90, "unit": "bytes"})
    return Advice(DISK.key, Move.UP, "size", 9.0, wanted, reason, 1.5, parameters or {})


FULL = Outlook(
    DISK,
    NOON,
    7.5,
    Remark("forecast.stays_below", {"limit": 8.0, "unit": "bytes", "days": 180, "percent": 3}),
    Limit(DISK, 9.0, "df", 0.9, 21),
    86400,
    np.datetime64("2026-03-02T00:00:00"),
    np.arange(10.0).reshape(5, 2),
    BackTest(0.5, 0.4, 6),
    0.61,
    180,
    np.datetime64("2026-04-01"),
    np.datetime64("2026-03-20"),
    None,
    (Remark("forecast.gaps", {"percent": 12}),),
    advice(12.0, parameters={"application": "desk", "environment": "production", "instances": 3}),
    True,
)
BARE = Outlook(CPU, NOON, float("nan"), Remark("forecast.refused_empty"))


def test_nothing_is_kept_yet(store: OutlookStore):
    assert store.newest() == [] and store.alerts() == []
    assert store.earlier(run="x", since=NOON) == {}


def test_an_outlook_comes_back_as_it_was_kept_and_in_its_order(store: OutlookStore):
    store.keep("run-1", [FULL, BARE])
    full, bare = store.newest()
    assert full.band is not None and FULL.band is not None
    assert full.band.tolist() == FULL.band.tolist()
    assert replace(full, band=None) == replace(FULL, band=None)
    assert np.isnan(bare.used) and replace(bare, used=0.0) == replace(BARE, used=0.0)
    assert full.days_left == 30 and full.answer.text() and full.advice and full.advice.reason.text()


def test_a_band_beyond_single_precision_costs_no_other_outlook(store: OutlookStore):
    store.keep("run-1", [replace(FULL, band=np.full((5, 2), 1e300)), BARE])
    huge, bare = store.newest()
    assert huge.band is not None and np.isfinite(huge.band).all() and huge.band.min() > 1e38
    assert bare.resource == CPU


def test_a_run_replaces_the_outlooks_and_its_own_advice(store: OutlookStore):
    store.keep("run-1", [FULL, BARE])
    store.keep("run-1", [replace(FULL, advice=advice(14.0))])
    assert [one.resource for one in store.newest()] == [DISK]
    (kept,) = store.earlier(run="run-2", since=NOON)[DISK.key, "size"]
    assert kept.wanted == 14.0


def test_advice_of_other_runs_is_told_oldest_first_and_only_of_the_time_asked_for(store: OutlookStore):
    for number, days in enumerate((0, 40, 10)):
        at = NOON - timedelta(days=days)
        store.keep(f"run-{number}", [replace(FULL, at=at, advice=advice(10.0 + number))])
    found = store.earlier(run="run-0", since=NOON - timedelta(days=45))
    assert [one.wanted for one in found[DISK.key, "size"]] == [11.0, 12.0]
    assert len(store.earlier(run="run-0", since=NOON - timedelta(days=20))[DISK.key, "size"]) == 1


def test_an_alert_opens_once_is_told_once_and_closes(store: OutlookStore):
    store.open_alert(DISK, at=NOON)
    store.open_alert(DISK, at=NOON + timedelta(days=1))
    (alert,) = store.alerts()
    assert (alert.resource, alert.opened_at, alert.is_told) == (DISK, NOON, False)
    store.mark_told(DISK)
    store.mark_told(CPU)
    assert [one.is_told for one in store.alerts()] == [True]
    store.close_alert(DISK)
    store.close_alert(DISK)
    assert store.alerts() == []


def test_old_advice_is_forgotten(store: OutlookStore):
    store.keep("run-0", [replace(FULL, at=NOON - timedelta(days=200))])
    store.keep("run-1", [FULL])
    assert store.prune(before=NOON - timedelta(days=120)) == 1
    assert store.prune(before=NOON - timedelta(days=120)) == 0
