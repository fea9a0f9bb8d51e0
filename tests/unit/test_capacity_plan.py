"""`capacity.yaml`: what it may say, and how it says no."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from blocks.capacity_file import CapacityFile
from domain.amounts import read_amount, write_value
from domain.capacity import CapacityPlan, read_plan
from domain.errors import ConfigError
from domain.limits import Limit
from domain.usage import Metric, Resource

SHIPPED = Path(__file__).parents[2] / "deployments" / "capacity.yaml"
DISK = Resource(Metric.DISK, "db1", "/var")
GIB = 1024.0**3


def test_the_shipped_file_can_be_read_and_watches_the_stack():
    plan = CapacityFile(SHIPPED).read()
    assert [source.kind for source in plan.sources] == ["machine", "postgres", "s3", "traefik"]
    assert plan.limit_of(DISK, Limit(DISK, GIB, "df")) == Limit(DISK, GIB, "df", 0.8, 14)


def test_what_its_comments_offer_can_be_taken():
    text = SHIPPED.read_text()
    offered = "\n".join(
        line.removeprefix("# ") for line in text.splitlines() if line.startswith(("# prices", "# pl", "# se"))
    )
    assert len(yaml.safe_load(offered)) == 3
    assert read_plan(yaml.safe_load(offered)).planned[0].begin == date(2027, 1, 15)


def test_a_file_that_is_away_or_no_yaml_says_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigError, match="slipway up"):
        CapacityFile(tmp_path / "capacity.yaml").read()
    (tmp_path / "capacity.yaml").write_text("sources: [")
    with pytest.raises(ConfigError, match="no YAML"):
        CapacityFile(tmp_path / "capacity.yaml").read()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"limits": [{"resources": "disk:*", "treshold_percent": 3}]}, r"limits\.0\.treshold_percent: no such key"),
        ({"limit": []}, "limit: no such key"),
        ({"limits": [{"resources": "dsk:*"}]}, "METRIC being one of"),
        ({"limits": [{"resources": "disk:*", "value": "10 apples"}]}, "another unit than bytes"),
        ({"limits": [{"resources": "connections:*", "value": "10 GiB"}]}, "another unit than connections"),
        ({"limits": [{"resources": "disk:*", "threshold_percent": 120}]}, "less than or equal to 100"),
        ({"sources": [{"kind": "nagios"}]}, r"sources\.0: no such source\. Give `kind`, one of machine"),
        ({"sources": [{"password": "a-word"}]}, r"sources\.0: no such source\. Give `kind`, one of machine"),
        ({"limits": [{"resources": "disk:*", "value": -5}]}, r"limits\.0: .*an amount above 0"),
        ({"limits": [{"resources": "disk:*"}, {"resources": "disk:*", "value": "0 GiB"}]}, r"limits\.1: .*above 0"),
        ({"limits": [{"resources": "disk:*", "value": float("inf")}]}, r"limits\.0: .*no amount"),
        ({"services": [{"resource": "desk", "application": "desk", "environment": "test"}]}, r"services\.0: 'desk'"),
        ({"sources": [{"kind": "machine"}, {"kind": "machine"}]}, "named twice"),
        ({"planned": [{"resources": "disk:*", "begin": "soon"}]}, r"planned\.0\.begin"),
        ({"planned": [{"resources": "cpu:*", "begin": "2027-01-01", "load_percent": -200}]}, "greater than or equal"),
        ({"prices": [{"resources": "disk:*", "per_month": 1, "per": 0}]}, "above 0"),
        ({"prices": [{"resources": "disk:*", "per_month": 1, "per": "-1 GiB"}]}, r"prices\.0: .*above 0"),
        ({"prices": [{"resources": "disk:*", "per_month": -1}]}, "greater than or equal to 0"),
        ([1, 2], "the file: "),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(value: object, words: str):
    with pytest.raises(ConfigError, match=words):
        read_plan(value)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:a-word@prometheus:9090",
        "redis://:a-word@127.0.0.1",
        "postgresql://me:a-word@db/app",
        "postgresql://me@db/app?password=a-word",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(url: str):
    with pytest.raises(ConfigError, match=r"sources\.0\.url: an address holds no password") as told:
        read_plan({"sources": [{"kind": "prometheus", "url": url}]})
    assert "a-word" not in str(told.value)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "aliases"),
        ("limits: []\nlimits: []\n", "'limits' stands here twice"),
        ("[" * 50_000, "no YAML"),
        ("? [a]\n: b\n? {c: d}\n: e\n", "no YAML"),
        ("planned: [{begin: 2027-13-45}]", "month"),
        ("!!python/object:os.x {}", "no YAML"),
        ("#" * 1_100_000, "over 1000 kB"),
        ("\xff", "UTF-8"),
    ],
    ids=["bomb", "twice", "deep", "keys", "date", "object", "long", "encoding"],
)
def test_rubbish_is_refused_at_once(tmp_path: Path, text: str, words: str):
    path = tmp_path / "capacity.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=words) as told:
        CapacityFile(path).read()
    assert len(str(told.value)) < 600


def test_nothing_set_is_no_error_and_sets_nothing():
    assert read_plan(None) == CapacityPlan()
    assert CapacityPlan().limit_of(DISK, None) is None


def test_the_first_rule_with_a_field_decides_it():
    plan = read_plan(
        {
            "limits": [
                {"resources": "disk:db1:*", "lead_days": 30},
                {"resources": "disk:*", "value": "2 GiB", "lead_days": 7, "threshold_percent": 90, "source": "quota"},
            ]
        }
    )
    assert plan.limit_of(DISK, Limit(DISK, 9.0, "df")) == Limit(DISK, 2 * GIB, "quota", 0.9, 30)


def test_prices_are_of_one_unit():
    plan = read_plan({"prices": [{"resources": "disk:*", "per_month": 0.1, "per": "1 GiB"}]})
    assert (plan.price_of(DISK) or 0) * GIB == pytest.approx(0.1)
    assert plan.price_of(Resource(Metric.CPU, "db1")) is None


def test_vectors_and_events_become_plans():
    plan = read_plan(
        {
            "planned": [{"resources": "disk:*", "begin": "2027-01-15", "amount": "-20 GiB", "reason": "old dumps go"}],
            "vectors": [
                {
                    "resources": "vectors:main:app/public.piece",
                    "begin": "2027-02-01",
                    "documents": 1000,
                    "chunks_per_document": 10,
                    "dimensions": 768,
                }
            ],
        }
    )
    freed, vectors = plan.all_planned()
    assert freed.amount == -20 * GIB and vectors.amount > 10_000 * 768 * 4 * 2


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("1.5 GiB", "bytes", 1.5 * GIB),
        ("50 GB", "bytes", 5e10),
        ("80 %", "ratio", 0.8),
        (3, "cores", 3.0),
        ("4", "cores", 4),
    ],
)
def test_amounts_are_read_in_their_unit(text: str, unit: str, value: float):
    assert read_amount(text, unit) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "GiB", "nan", "1 GiB GiB", "ten"])
def test_what_is_no_amount_is_refused(text: str):
    with pytest.raises(ConfigError):
        read_amount(text, "bytes")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "bytes", "0 B"),
        (1.5 * GIB, "bytes", "1.5 GiB"),
        (1010 * GIB, "bytes", "1,010 GiB"),
        (1000, "bytes", "1,000 B"),
        (0.84, "ratio", "84 %"),
        (12, "ratio", "1,200 %"),
        (12345, "items", "12,345 items"),
        (999.6, "cores", "1,000 cores"),
        (0.000012, "requests/s", "0.00001 requests/s"),
        (0.00000001, "cores", "0 cores"),
    ],
)
def test_amounts_are_written_as_people_read_them(value: float, unit: str, text: str):
    assert write_value(value, unit) == text
