"""Sources that `capacity.yaml` names are opened; one that can't be costs only itself."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.installation import Installation, Users
from blocks.report_files import ReportFiles
from blocks.usage_sources import CarefulSource, open_sources, postgres_url
from domain.capacity import PostgresSource, read_plan
from domain.environment import Environment, Site
from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.usage import Interval, Metric, Reading, Resource

SITE = Site(name="main", target="a/b", balancer="a/b", metrics="a/b")


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    secrets = {
        "postgres_superuser": "of-the-stack",
        "s3_usage_access_key": "a",
        "s3_usage_secret_key": "b",
        "mine": "own",
    }
    (tmp_path / "credentials.json").write_text(json.dumps(secrets))
    ports = {"postgres": 5432, "s3": 8333, "metrics-test-main": 9000}
    return Installation(tmp_path, tmp_path, ports, Users(), Path("python"), tmp_path)


def test_every_kind_is_opened_by_its_name(installation: Installation):
    plan = read_plan(
        {
            "sources": [
                {"kind": "machine", "owner": "here"},
                {"kind": "postgres"},
                {"kind": "s3"},
                {"kind": "traefik"},
                {"kind": "prometheus", "url": "http://127.0.0.1:9090"},
                {"kind": "kubernetes", "url": "https://127.0.0.1:6443", "token_secret": "mine"},
                {"kind": "rabbitmq", "url": "http://127.0.0.1:15672"},
                {"kind": "redis", "url": "redis://127.0.0.1:6379/0", "password_secret": "mine"},
            ]
        }
    )
    opened = open_sources(plan, installation, lambda: [Environment(name="test", sites=(SITE,))])
    names = "machine:here postgres:main s3:main traefik:test prometheus:main kubernetes:main rabbitmq:main redis:redis"
    assert " ".join(source.name for source in opened) == names


def test_one_that_cannot_be_opened_says_why_when_it_is_asked_and_the_others_work(installation: Installation):
    plan = read_plan(
        {
            "sources": [
                {"kind": "prometheus", "url": "http://127.0.0.1:9090", "token_secret": "nowhere"},
                {"kind": "traefik", "environments": ["prod"]},
                {"kind": "machine", "owner": "here"},
            ]
        }
    )
    prometheus, traefik, machine = open_sources(plan, installation, lambda: [Environment(name="test", sites=(SITE,))])
    with pytest.raises(ConfigError, match="No secret named 'nowhere'"):
        prometheus.limits()
    with pytest.raises(ConfigError, match="no environment named 'prod'"):
        traefik.limits()
    assert machine.limits()


def test_a_server_of_ones_own_gets_its_own_password(installation: Installation):
    own = postgres_url(PostgresSource(kind="postgres"), installation)("app")
    assert "of-the-stack" in own and "dbname=app" in own
    given = PostgresSource(kind="postgres", url="postgresql://monitor@db.internal", password_secret="mine")
    assert "password=own" in postgres_url(given, installation)("app")
    bare = PostgresSource(kind="postgres", url="postgresql://monitor@db.internal")
    assert "password" not in postgres_url(bare, installation)("app")


def test_reports_are_kept_whole_bounded_and_inside_their_folder(tmp_path: Path):
    reports = ReportFiles(tmp_path / "reports")
    path = Path(reports.write("capacity-2026-03-02.html", "first"))
    assert reports.write("capacity-2026-03-02.html", "second") == str(path) and path.read_text() == "second"
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="no name of a report"):
        reports.write("../up.html", "x")


@dataclass
class Odd:
    """A source whose answer makes no sense."""

    name: str = "odd:one"

    def read(self, interval: Interval) -> Reading:
        raise KeyError("items")

    def limits(self) -> list[Limit]:
        return [Limit(Resource(Metric.DISK, "a", "/"), float("12 apples"), "somewhere")]


def test_an_answer_that_makes_no_sense_is_a_failure_of_its_source_alone():
    careful = CarefulSource(Odd())
    end = datetime(2026, 3, 2, tzinfo=UTC)
    assert careful.name == "odd:one"
    with pytest.raises(TransientError, match="odd:one gave what makes no sense"):
        careful.read(Interval(end - timedelta(minutes=10), end))
    with pytest.raises(TransientError, match="12 apples"):
        careful.limits()
