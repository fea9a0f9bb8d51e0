"""Collecting, forecasting, alerting and asking what if: whole runs on twins."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from stage import Stage
from test_cleanup_flow import settle

from blocks.clock import MemoryClock
from blocks.memory_ledger import MemoryLedger
from blocks.memory_usage_source import MemoryUsageSource
from domain.capacity import GpuModel, PlannedEvent, VectorPlan, read_plan
from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.load_policy import LoadPolicy
from domain.ports_capacity import HeavyQuery
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource, as_time
from flows.capacity import capacity
from flows.collect_usage import collect_usage
from flows.what_if import what_if

DISK = Resource(Metric.DISK, "db1", "/var")
CPU = Resource(Metric.CPU, "web1")
REQUESTS = Resource(Metric.REQUESTS, "production", "desk")
CONNECTIONS = Resource(Metric.CONNECTIONS, "main")
VECTORS = Resource(Metric.VECTORS, "main", "app/public.piece")
GIB = 1024.0**3


@pytest.fixture(autouse=True)
def now(stage: Stage) -> datetime:
    """A Monday at noon, and some seconds: nothing here depends on the day on which it runs."""
    stage.world.clock = MemoryClock(datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC))
    return stage.world.clock.now()


def feed(stage: Stage, resource: Resource, value: Callable[[int], float], *, days: int = 150, step_h: int = 24) -> None:
    """Put a past into the store: `value` by step, the last one just before now."""
    end = stage.world.clock.now().replace(minute=0, second=0, microsecond=0)
    steps = days * 24 // step_h
    moments = [end - timedelta(hours=step_h * (steps - n)) for n in range(steps)]
    times = np.array([as_time(at) for at in moments], dtype="datetime64[s]")
    values = np.array([value(n) for n in range(steps)])
    known = ~np.isnan(values)
    reading = Reading((Measured(resource, times[known], values[known]),))
    stage.world.usage_store.record(f"fed:{resource.key}", Interval(moments[0], end), reading)


def growing(step: float, *, start: float = 10.0) -> Callable[[int], float]:
    generator = np.random.default_rng(7)
    noise = generator.normal(0, step / 4, 5000)
    return lambda n: (start + step * n + noise[n]) * GIB


def limit(stage: Stage, *limits: Limit, **settings: Any) -> None:
    stage.world.measuring = [MemoryUsageSource(known_limits=list(limits))]
    stage.world.capacity.plan = read_plan(settings)


def page(stage: Stage, key: str = "capacity") -> str:
    return stage.world.screen.reports[key][-1]


class TestCollecting:
    def test_each_source_is_kept_and_the_same_interval_twice_is_once(self, stage: Stage, now: datetime):
        source = MemoryUsageSource(courses={CPU: lambda _: 2.0, DISK: lambda _: GIB})
        stage.world.measuring = [source]
        assert collect_usage()["series"] == 2
        first = stage.world.usage_store.series(step_s=3600)
        assert collect_usage()["samples"] == 0  # nothing new was there to ask for
        assert [one.values.tolist() for one in stage.world.usage_store.series(step_s=3600)] == [
            one.values.tolist() for one in first
        ]
        assert source.asked[0].begin >= now - timedelta(hours=48, minutes=1)

    def test_it_catches_up_with_what_it_missed(self, stage: Stage):
        stage.world.measuring = [MemoryUsageSource(courses={CPU: lambda _: 2.0})]
        collect_usage()
        stage.world.clock.sleep(3 * 3600)
        assert collect_usage()["samples"] == 180

    def test_a_source_that_fails_costs_its_own_series_and_says_so_once(self, stage: Stage):
        bad = MemoryUsageSource("bad:one", {DISK: lambda _: GIB}, error=TransientError("It is away. Start it."))
        stage.world.measuring = [bad, MemoryUsageSource(courses={CPU: lambda _: 2.0})]
        assert collect_usage()["failed"] == ["bad:one"]
        stage.world.clock.sleep(600)
        assert collect_usage()["failed"] == ["bad:one"]
        assert [one.name for one in stage.world.usage_store.series(step_s=3600)] == [CPU.key]
        assert stage.kinds(kinds=["usage.failed"]) == ["usage.failed"]
        assert "It is away. Start it." in page(stage, "usage-collected")
        (gap,) = stage.world.usage_store.gaps(
            "bad:one", begin=stage.world.clock.now() - timedelta(hours=1), end=stage.world.clock.now()
        )
        assert gap.reason == "It is away. Start it."
        bad.error = None
        stage.world.clock.sleep(600)
        assert collect_usage()["failed"] == []
        assert stage.kinds(kinds=["usage.failed", "usage.resumed"]) == ["usage.failed", "usage.resumed"]

    def test_what_sees_the_present_only_leaves_a_gap_where_nobody_asked(self, stage: Stage):
        source = MemoryUsageSource(courses={CPU: lambda _: 2.0}, now=stage.world.clock.now)
        stage.world.measuring = [source]
        collect_usage()
        before = stage.world.clock.now().replace(second=0, microsecond=0)
        stage.world.clock.sleep(3 * 3600)
        assert collect_usage()["samples"] == 10
        end = stage.world.clock.now().replace(second=0)
        (gap,) = stage.world.usage_store.gaps(source.name, begin=before, end=end)
        assert gap.interval.seconds >= 2 * 3600 and "present only" in gap.reason

    def test_negative_doubled_and_foreign_samples_are_left_out_and_told(self, stage: Stage):
        class Odd(MemoryUsageSource):
            def read(self, interval: Interval) -> Reading:
                times = np.array([as_time(interval.begin)] * 2 + [as_time(interval.end), as_time(interval.begin) + 60])
                return Reading((Measured(DISK, times, np.array([5.0, 6.0, 7.0, -1.0])),))

        stage.world.measuring = [Odd()]
        collect_usage()
        told = page(stage, "usage-collected")
        assert "came twice" in told and "outside the interval" in told and "negative" in told
        assert set(np.concatenate([one.values for one in stage.world.usage_store.series(step_s=3600)])) == {6.0}

    def test_a_clock_that_jumps_back_is_told_and_stops_nothing(self, stage: Stage):
        stage.world.measuring = [MemoryUsageSource(courses={CPU: lambda _: 2.0})]
        collect_usage()
        stage.world.usage_store.record("memory:main", far(stage), Reading())
        assert collect_usage()["samples"] == 10
        assert "a clock jumped" in page(stage, "usage-collected")

    def test_half_an_answer_is_kept_and_told(self, stage: Stage):
        half = Remark("usage.half", {"source": "memory:main", "answered": 1, "asked": 2, "reason": "time-out"})
        stage.world.measuring = [MemoryUsageSource(courses={CPU: lambda _: 2.0}, problems=(half,))]
        assert collect_usage()["series"] == 1
        assert "answered 1 of 2" in page(stage, "usage-collected")

    def test_what_is_old_is_forgotten(self, stage: Stage):
        feed(stage, DISK, growing(1), days=900)
        stage.world.measuring = []
        assert collect_usage()["pruned"] > 900


def far(stage: Stage) -> Interval:
    end = stage.world.clock.now().replace(second=0, microsecond=0) + timedelta(days=2)
    return Interval(end - timedelta(minutes=10), end)


class TestForecasting:
    def test_the_first_to_run_out_heads_the_table_with_its_date(self, stage: Stage, now: datetime):
        feed(stage, DISK, growing(1))
        feed(stage, Resource(Metric.DISK, "db2", "/"), growing(0.01))
        limit(stage, Limit(DISK, 240 * GIB, "df"), Limit(Resource(Metric.DISK, "db2", "/"), 1000 * GIB, "df"))
        outcome = capacity()
        assert (outcome["resources"], outcome["near"], outcome["refused"]) == (2, 1, 0)
        first, second = stage.world.outlooks.newest()
        assert first.resource == DISK and 25 <= (first.days_left or 0) <= 40  # 160 of 192 GiB, one a day
        assert first.lo80 and first.hi80 and first.lo80 <= first.median <= first.hi80
        assert second.median is None and (second.probability or 0) < 0.1
        text = page(stage)
        assert text.index("disk: db1: /var") < text.index("disk: db2: /")
        assert (
            str(first.median).replace("-", "\u2011") in text
            and "240\u00a0GiB (80\u00a0%)" in text
            and "data:image/svg+xml;base64," in text
        )
        (entry,) = stage.world.ledger.entries(kinds=["capacity.forecast"])
        assert entry.data["near"] == 1

    def test_the_page_is_a_file_as_well_and_people_are_told_where(self, stage: Stage, now: datetime):
        feed(stage, DISK, growing(1))
        limit(stage, Limit(DISK, 400 * GIB, "df"))
        capacity()
        html = stage.world.reports.written[f"capacity-{now:%Y-%m-%d}.html"]
        assert html.startswith("<!doctype html>") and "<svg" in html and "disk:db1:/var" in html
        assert "http://" not in html.replace("http://www.w3.org/2000/svg", "") and "<script" not in html
        assert f"memory/capacity-{now:%Y-%m-%d}.html" in stage.world.notifier.messages[-1].body

    def test_load_gets_a_probability_and_no_date(self, stage: Stage):
        feed(stage, CPU, lambda n: 3 + math.sin(n * 2 * math.pi / 24), days=30, step_h=1)
        limit(stage, Limit(CPU, 4.5, "cores"))
        capacity()
        (outlook,) = stage.world.outlooks.newest()
        assert outlook.median is None and (outlook.probability or 0) > 0.5
        assert "% within" in page(stage)

    @pytest.mark.parametrize(
        ("value", "days", "words"),
        [
            (growing(1), 5, "No forecast: only"),
            (lambda n: 5 * GIB, 90, "Has not moved"),
            (lambda n: math.nan if 30 < n < 60 else (10 + n) * GIB, 120, "have no sample"),
            (lambda n: (10 + n * 0.1 + (100 if n > 60 else 0)) * GIB, 120, "The level shifted"),
            (lambda n: (10 + n % 3 + (3000 if n == 50 else 0)) * GIB, 120, "outliers were left out"),
            (lambda n: 0.0 if n > 117 else (10 + n % 3) * GIB, 120, "Unconfirmed level shift"),
            (lambda n: (10 + n % 3) * GIB / (1024 if n > 60 else 1), 120, "as when a unit changes"),
        ],
        ids=["short", "constant", "missing", "shifted", "outlier", "outage", "unit"],
    )
    def test_what_is_not_plain_gets_an_explicit_answer(
        self, stage: Stage, value: Callable[[int], float], days: int, words: str
    ):
        # what comes and goes: what piles up may fall or jump
        resource = Resource(Metric.MEMORY, "db1")
        feed(stage, resource, value, days=days)
        limit(stage, Limit(resource, 500 * GIB, "MemTotal"))
        capacity()
        assert words in page(stage)
        (outlook,) = stage.world.outlooks.newest()
        assert outlook.median is None

    def test_a_series_that_ended_long_ago_has_no_forecast_and_a_reason(self, stage: Stage):
        feed(stage, DISK, growing(1))
        stage.world.clock.sleep(40 * 86400)
        limit(stage, Limit(DISK, 400 * GIB, "df"))
        assert capacity()["refused"] == 1
        assert "days old" in page(stage)

    def test_a_limit_below_the_usage_gives_no_date(self, stage: Stage):
        feed(stage, DISK, growing(1))
        limit(stage, Limit(DISK, 90.0, "somebody's slip"))
        capacity()
        (outlook,) = stage.world.outlooks.newest()
        assert outlook.median is None and outlook.probability is None and outlook.advice is None
        assert "It is full, or the limit is in another unit" in page(stage)

    def test_samples_from_when_a_clock_was_wrong_move_no_date(self, stage: Stage):
        feed(stage, DISK, growing(1))
        limit(stage, Limit(DISK, 240 * GIB, "df"))
        capacity()
        (before,) = stage.world.outlooks.newest()
        ahead = stage.world.clock.now().replace(minute=0, second=0) + timedelta(days=400)
        times = np.array([as_time(ahead), as_time(ahead) + 86400], dtype="datetime64[s]")
        wrong = Reading((Measured(DISK, times, np.array([9000 * GIB, 9001 * GIB])),))
        stage.world.usage_store.record("fed:jump", Interval(ahead, ahead + timedelta(days=2)), wrong)
        capacity()
        (after,) = stage.world.outlooks.newest()
        assert (after.median, after.used, after.limit) == (before.median, before.used, before.limit)
        assert "2 samples of disk:db1:/var lie in the future" in page(stage)

    def test_a_limit_in_a_far_larger_unit_gives_no_date(self, stage: Stage):
        feed(stage, DISK, growing(1))
        limit(stage, Limit(DISK, 1e9 * GIB, "somebody's slip"))
        capacity()
        assert "compare their units" in page(stage)
        assert stage.world.outlooks.newest()[0].median is None

    def test_what_has_no_limit_says_so(self, stage: Stage):
        feed(stage, DISK, growing(1))
        limit(stage)
        capacity()
        assert "No limit is known of 1: disk:db1:/var" in page(stage)

    def test_a_source_that_is_new_had_no_gap_before(self, stage: Stage):
        stage.world.measuring = [MemoryUsageSource(courses={CPU: lambda _: 2.0}, now=stage.world.clock.now)]
        collect_usage()
        capacity()
        assert "Gaps of the last week" not in page(stage)
        stage.world.clock.sleep(9 * 86400)
        collect_usage()
        capacity()
        assert "memory:main: 167.8 h in 1 stretches" in page(stage)

    def test_nothing_collected_is_a_page_that_says_so(self, stage: Stage):
        limit(stage)
        assert capacity()["resources"] == 0
        assert "Nothing was collected yet" in page(stage)

    def test_settings_that_cannot_be_used_are_told_before_anything_is_kept(self, stage: Stage):
        class Broken:
            def read(self) -> Any:
                return read_plan({"limits": [{"resource": "x"}]})

        feed(stage, DISK, growing(1))
        stage.world.capacity = Broken()  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(ConfigError, match="no such key"):
            capacity()
        assert stage.world.outlooks.newest() == []

    def test_what_is_planned_moves_the_date(self, stage: Stage, now: datetime):
        feed(stage, DISK, growing(1))
        limit(stage, Limit(DISK, 300 * GIB, "df"))
        capacity()
        without = stage.world.outlooks.newest()[0].days_left
        soon = (now + timedelta(days=5)).date().isoformat()
        plan = {"planned": [{"resources": "disk:*", "begin": soon, "amount": "40 GiB", "reason": "a migration"}]}
        limit(stage, Limit(DISK, 300 * GIB, "df"), **plan)
        capacity()
        with_it = stage.world.outlooks.newest()[0].days_left
        assert without and with_it and 30 <= without - with_it <= 50

    def test_one_plot_on_demand(self, stage: Stage):
        feed(stage, DISK, growing(1))
        limit(stage, Limit(DISK, 300 * GIB, "df"))
        capacity()
        capacity(resource=DISK.key)
        assert "data:image/svg+xml" in page(stage, "capacity-plot")
        with pytest.raises(ConfigError, match=r"No resource 'disk:x:y'.*disk:db1:/var"):
            capacity(resource="disk:x:y")

    def test_the_heaviest_queries_are_named_where_the_database_is_short(self, stage: Stage):
        feed(stage, CONNECTIONS, lambda n: 90 + n % 5, days=30, step_h=1)
        limit(stage, Limit(CONNECTIONS, 97, "max_connections"))
        heavy = HeavyQuery("app", "SELECT * FROM ticket WHERE note LIKE $1", 900, 80.0, 0.6)
        stage.world.heavy_queries.queries = {"main": [heavy], "other": [replace(heavy, text="SELECT 1")]}
        capacity()
        assert "60 % of its time, 900 calls, in app: `SELECT * FROM ticket" in page(stage)
        assert "SELECT 1" not in page(stage)  # of a server that has enough

    def test_the_queries_of_the_stacks_own_server_are_named_where_its_machine_is_short_of_processor(self, stage: Stage):
        here = Resource(Metric.CPU, "here")
        feed(stage, here, lambda n: 3.5 + 0.4 * math.sin(n * 2 * math.pi / 24), days=30, step_h=1)
        feed(stage, CPU, lambda n: 1.5, days=30, step_h=1)
        stage.world.measuring = [MemoryUsageSource("machine:here", known_limits=[Limit(here, 4, "cores")])]
        sources = [{"kind": "postgres"}, {"kind": "postgres", "owner": "far", "url": "postgresql://x@far"}]
        stage.world.capacity.plan = read_plan({"sources": sources})
        heavy = HeavyQuery("app", "SELECT * FROM ticket WHERE note LIKE $1", 900, 80.0, 0.6)
        stage.world.heavy_queries.queries = {"main": [heavy], "far": [replace(heavy, text="SELECT 1")]}
        capacity()
        assert "60 % of its time, 900 calls, in app: `SELECT * FROM ticket" in page(stage)
        assert "SELECT 1" not in page(stage)

    def test_artifacts_stay_below_their_size(self, stage: Stage):
        generator = np.random.default_rng(3)
        limits: list[Limit] = []
        for number in range(30):
            resource = Resource(Metric.DISK, f"db{number:02}", "/")
            walk = (100 + generator.normal(0.5, 3, 500).cumsum()).clip(1) * GIB
            feed(stage, resource, lambda n, walk=walk: float(walk[n]), days=300)
            limits.append(Limit(resource, float(walk[299]) * 1.6, "df"))
        limit(stage, *limits)
        capacity()
        reports = {key: text[-1] for key, text in stage.world.screen.reports.items() if key.startswith("capacity")}
        assert all(len(text.encode()) < 200_000 for text in reports.values())
        assert sum(text.count("data:image/svg+xml") for text in reports.values()) == 20


class TestAdvice:
    def test_it_counts_when_two_runs_agree_and_is_a_record_once(self, stage: Stage):
        feed(stage, DISK, growing(1))
        limit(stage, Limit(DISK, 205 * GIB, "df"), prices=[{"resources": "disk:*", "per_month": 0.1, "per": "1 GiB"}])
        assert capacity()["settled"] == 0
        assert "if the next run agrees" in page(stage)
        assert capacity()["settled"] == 1
        capacity()
        (given,) = stage.world.ledger.entries(kinds=["advice.given"])
        assert given.data["move"] == "up" and given.data["wanted"] > 205 * GIB
        assert given.data["cost_per_month"] > 1 and "GiB" in given.data["reason"]

    def test_a_run_that_dies_before_the_record_is_made_up_for(self, stage: Stage):
        feed(stage, DISK, growing(1))
        limit(stage, Limit(DISK, 205 * GIB, "df"))
        capacity()
        capacity()
        written = stage.world.ledger
        stage.world.ledger = MemoryLedger()  # as if the second run had kept its advice and died
        capacity()
        assert (
            stage.kinds(kinds=["advice.given"])
            == ["advice.given"]
            == [entry.kind for entry in written.entries(kinds=["advice.given"])]
        )

    def test_a_clean_up_that_frees_enough_is_advised_instead(self, stage: Stage):
        database = Resource(Metric.DATABASE, "main", "desk_production")
        feed(stage, database, growing(1))
        limit(stage, Limit(database, 250 * GIB, "a quota"))
        settle(stage, old=15).row_bytes = int(5 * GIB)
        capacity()
        text = page(stage)
        assert "policy 'old-tickets' would free 150 GiB" in text

    def test_a_service_gets_the_parameters_that_scale_takes(self, stage: Stage):
        feed(stage, REQUESTS, lambda n: 300 + 100 * math.sin(n * 2 * math.pi / 24), days=30, step_h=1)
        service = {"resource": REQUESTS.key, "application": "desk", "environment": "production"}
        limit(stage, services=[{**service, "requests_per_s": 50, "instances": 2}])
        capacity()
        capacity()
        (given,) = stage.world.ledger.entries(kinds=["advice.given"])
        parameters = given.data["parameters"]
        assert set(parameters) == {"application", "environment", "instances", "reason"}
        assert parameters["instances"] >= 10 and "requests/s are expected" in parameters["reason"]
        assert (given.event.application, given.event.environment) == ("desk", "production")
        assert json.dumps(parameters)
        policy = given.data["policy"]
        wanted = LoadPolicy("desk", "production", policy["least"], policy["most"], 0.6, policy["capacity"])
        assert set(policy) == {"application", "environment", "least", "most", "capacity", "target_ratio"}
        assert wanted.most == parameters["instances"] and 0.4 <= policy["target_ratio"] <= 0.8

    def test_what_is_idle_is_said_to_be(self, stage: Stage):
        feed(stage, CPU, lambda n: 0.1 + 0.01 * (n % 5), days=30, step_h=1)
        limit(stage, Limit(CPU, 16, "cores"))
        capacity()
        outlook = stage.world.outlooks.newest()[0]
        assert outlook.advice and outlook.advice.move == "down" and not outlook.is_settled
        assert "Idle" in page(stage)


class TestAlerts:
    def cross_soon(self, stage: Stage, size: float = 205) -> None:
        limit(stage, Limit(DISK, size * GIB, "df"))

    def test_a_crossing_nearer_than_its_lead_time_is_told_once_and_closes_by_itself(self, stage: Stage):
        feed(stage, DISK, growing(1))
        self.cross_soon(stage)  # 164 GiB matter, 160 are used
        assert capacity(alerts_only=True)["opened"] == 1
        assert capacity(alerts_only=True)["opened"] == 0
        (message,) = stage.world.notifier.messages
        assert message.subject == "Capacity: disk:db1:/var runs out" and "205 GiB (df)" in message.body
        self.cross_soon(stage, 222)  # about the lead time: neither near nor far
        assert capacity(alerts_only=True)["closed"] == 0
        self.cross_soon(stage, 500)
        assert capacity(alerts_only=True)["closed"] == 1
        assert stage.world.notifier.messages[-1].subject.endswith("is all right again")
        assert stage.kinds(kinds=["alert.opened", "alert.closed"]) == ["alert.opened", "alert.closed"]
        assert stage.world.outlooks.alerts() == [] and "capacity" not in stage.world.screen.reports

    def test_an_alert_stays_while_nothing_can_be_told(self, stage: Stage):
        feed(stage, DISK, growing(1))
        self.cross_soon(stage)
        capacity(alerts_only=True)
        limit(stage)  # the limit is not known today
        assert capacity(alerts_only=True)["closed"] == 0
        assert len(stage.world.outlooks.alerts()) == 1

    def test_a_notifier_that_is_away_costs_no_alert(self, stage: Stage):
        feed(stage, DISK, growing(1))
        self.cross_soon(stage)
        stage.world.notifier.is_away = True
        capacity(alerts_only=True)
        assert stage.kinds(kinds=["notification.failed"]) and not stage.world.outlooks.alerts()[0].is_told
        stage.world.notifier.is_away = False
        capacity(alerts_only=True)
        assert len(stage.world.notifier.messages) == 1 and stage.world.outlooks.alerts()[0].is_told

    def test_a_message_that_did_not_get_out_is_sent_by_the_next_run(self, stage: Stage):
        feed(stage, DISK, growing(1))
        self.cross_soon(stage)
        capacity(alerts_only=True)
        stage.world.outlooks.close_alert(DISK)
        stage.world.outlooks.open_alert(DISK, at=stage.world.clock.now())  # as a run leaves it that dies before telling
        assert capacity(alerts_only=True)["opened"] == 1
        assert len(stage.world.notifier.messages) == 2
        assert stage.kinds(kinds=["alert.opened"]) == ["alert.opened"]
        assert stage.world.outlooks.alerts()[0].is_told


class TestWhatIf:
    def test_dates_move_before_and_after(self, stage: Stage, now: datetime):
        feed(stage, DISK, growing(1))
        limit(stage, Limit(DISK, 300 * GIB, "df"))
        begin = (now + timedelta(days=10)).date()
        assert what_if(events=[PlannedEvent(resources="disk:*", begin=begin, load_percent=100)])["moved"] == 1
        text = page(stage, "what-if")
        assert "d earlier" in text and "+100 %" in text
        assert what_if(events=[PlannedEvent(resources="disk:*", begin=begin, amount="-120 GiB")])["moved"] == 1
        assert "d later" in page(stage, "what-if") or "not reached any more" in page(stage, "what-if")
        assert stage.world.outlooks.newest() == []

    def test_vectors_and_models_are_counted(self, stage: Stage, now: datetime):
        feed(stage, VECTORS, lambda n: (1 + n / 1000) * GIB)
        limit(stage, Limit(VECTORS, 20 * GIB, "quota"), gpus=2)
        vectors = VectorPlan(
            resources=VECTORS.key,
            begin=(now + timedelta(days=30)).date(),
            documents=400_000,
            chunks_per_document=8,
            dimensions=768,
        )
        model = GpuModel(name="chat", memory="20 GiB", requests_per_s=2, requests_per_s_peak=9, gpu_memory="24 GiB")
        assert what_if(vectors=[vectors], models=[model])["moved"] == 1
        text = page(stage, "what-if")
        assert "is reached now" in text and "7 × chat: 7 GPU" in text and "| **Σ GPU** | 0 / 2 | 7 / 2 |" in text

    def test_of_a_service_the_instances_move(self, stage: Stage, now: datetime):
        feed(stage, REQUESTS, lambda n: 300 + 100 * math.sin(n * 2 * math.pi / 24), days=30, step_h=1)
        service = {"resource": REQUESTS.key, "application": "desk", "environment": "production"}
        limit(stage, services=[{**service, "requests_per_s": 50, "instances": 2}])
        event = PlannedEvent(resources="requests:*", begin=(now + timedelta(days=30)).date(), load_percent=50)
        assert what_if(events=[event])["moved"] == 1
        assert "instances: 1" in page(stage, "what-if")

    def test_what_concerns_nothing_is_refused_with_examples(self, stage: Stage):
        feed(stage, DISK, growing(1))
        with pytest.raises(ConfigError, match=r"cpu:\*\. .*disk:db1:/var"):
            what_if(events=[PlannedEvent(resources="cpu:*", begin=date(2027, 1, 1))])
        with pytest.raises(ConfigError, match="Nothing is asked"):
            what_if()
