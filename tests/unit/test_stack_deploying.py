"""`prefect.yaml` is read strictly: what Prefect would skip without a word is an error here."""

from pathlib import Path

import pytest
import yaml
from running_stack import ROOT

from deployments.stack.deploying import read_prefect_file
from domain.errors import ConfigError


def test_our_file_describes_every_flow_and_every_entrypoint_is_there() -> None:
    file = read_prefect_file(ROOT / "prefect.yaml")
    assert {spec.full_name for spec in file.deployments} >= {
        "ci/ci",
        "cd/cd",
        "rollback/rollback",
        "unblock/unblock",
        "reconcile/reconcile",
    }
    for spec in file.deployments:
        path, _, function = spec.entrypoint.partition(":")
        assert f"def {function}(" in (ROOT / path).read_text()
        assert spec.work_pool.name == ("slipway" if spec.name == "ci" else "slipway-production")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_scheduled_runs": 3}, "max_scheduled_runs"),
        ({"schedules": [{"slug": "x"}]}, "exactly one of cron, interval, rrule"),
        ({"schedules": [{"cron": "* * * * *", "interval": 5, "slug": "x"}]}, "exactly one of"),
        ({"work_pool": {"name": "slipway", "colour": "red"}}, "colour"),
        ({"entrypoint": None}, "entrypoint"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, change: dict[str, object], says: str) -> None:
    value = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    value["deployments"][0].update(change)
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(value))
    with pytest.raises(ConfigError, match=says):
        read_prefect_file(tmp_path / "prefect.yaml")
