"""Alerts open once, close with a margin, and stay while nothing can be told."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domain.alerting import plan_alarms
from domain.limits import Limit
from domain.outlook import Outlook
from domain.series import Remark
from domain.usage import Metric, Resource, as_time

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DISK, CPU = Resource(Metric.DISK, "db1", "/"), Resource(Metric.CPU, "web1")


def outlook(
    resource: Resource, *, left: float | None = None, probability: float | None = None, lead: float = 14
) -> Outlook:
    day = None if left is None else as_time(NOW).astype("datetime64[D]") + np.timedelta64(round(left), "D")
    limit = Limit(resource, 100.0, "df", lead_days=lead)
    return Outlook(resource, NOW, 50.0, Remark("forecast.limit_unknown"), limit, probability=probability, median=day)


@given(
    left=st.integers(0, 180),
    lead=st.integers(0, 60),
    probability=st.floats(0, 1),
    is_load=st.booleans(),
    is_open=st.booleans(),
)
def test_nothing_opens_and_closes_at_once(left: int, lead: int, probability: float, is_load: bool, is_open: bool):
    one = outlook(CPU if is_load else DISK, left=None if is_load else left, probability=probability, lead=lead)
    opened = [one.resource] if is_open else []
    alarms = plan_alarms([one], opened)
    assert not (alarms.opening and alarms.closing)
    assert not (is_open and alarms.opening) and not (not is_open and alarms.closing)
    if alarms.opening:  # what has just opened does not close while nothing changes
        assert not plan_alarms([one], [one.resource]).closing


def test_a_date_opens_at_its_lead_time_and_closes_a_quarter_beyond():
    for left, opens, closes in (
        (13, True, False),
        (14, True, False),
        (15, False, False),
        (18, False, False),
        (19, False, True),
    ):
        one = outlook(DISK, left=left, probability=0.9)
        assert bool(plan_alarms([one], []).opening) is opens, left
        assert bool(plan_alarms([one], [DISK]).closing) is closes, left


def test_load_opens_when_exceeding_is_likelier_than_not():
    for probability, opens, closes in ((0.6, True, False), (0.4, False, False), (0.2, False, True)):
        one = outlook(CPU, probability=probability)
        assert bool(plan_alarms([one], []).opening) is opens
        assert bool(plan_alarms([one], [CPU]).closing) is closes


def test_what_piles_up_and_has_no_date_any_more_closes():
    assert plan_alarms([outlook(DISK, probability=0.2)], [DISK]).closing


def test_what_can_not_be_told_changes_nothing():
    unknown = outlook(DISK)
    assert plan_alarms([unknown], [DISK]).closing == () and plan_alarms([unknown], []).opening == ()
