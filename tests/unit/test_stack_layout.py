"""Ports, environments and credentials of an installation."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from deployments.stack.credentials import RECIPES, ensure_credentials
from deployments.stack.layout import (
    SHIPPED_ENVIRONMENTS,
    SITES_MAX,
    plan_ports,
    read_environments,
    ship_capacity,
    ship_environments,
    site_names,
)
from deployments.stack.traefik import bucket_bounds
from domain.errors import ConfigError


def test_the_four_environments_and_their_sites() -> None:
    environments = {one.name: one for one in read_environments(SHIPPED_ENVIRONMENTS)}
    assert list(environments) == ["development", "test", "staging", "production"]
    production = environments["production"]
    assert (production.primary.name, [site.name for site in production.standbys]) == ("alpha", ["beta"])
    assert production.entry == "canary" and production.approval and production.database_shared_between_sites
    assert "one database server" in production.notes
    assert not any(environments[name].approval for name in ("development", "test", "staging"))


def test_every_site_names_blocks_of_its_own() -> None:
    sites = [site for one in read_environments(SHIPPED_ENVIRONMENTS) for site in one.sites]
    assert len({site.target for site in sites}) == len({site.balancer for site in sites}) == len(sites) == 5


def test_no_two_ports_are_the_same_and_all_are_in_the_span() -> None:
    ports = plan_ports(4200, [f"environment{number}-main" for number in range(SITES_MAX)])
    assert len(set(ports.values())) == len(ports)
    assert all(4200 <= port < 4300 for name, port in ports.items() if name != "instances")
    assert (ports["prefect"], ports["door"], ports["postgres"], ports["s3"], ports["instances"]) == (
        *range(4200, 4204),
        4300,
    )


def test_a_new_site_moves_nobody() -> None:
    before = plan_ports(4200, ["test-main", "production-alpha"])
    after = plan_ports(4200, ["preview-main", "test-main", "production-alpha"], ["test-main", "production-alpha"])
    assert before.items() <= after.items() and after["entry-preview-main"] == 4212


def test_more_sites_than_places_are_refused() -> None:
    with pytest.raises(ConfigError, match="21 sites, but one machine has room for 20"):
        plan_ports(4200, [f"e{number}-main" for number in range(21)])


def test_an_edited_environment_stays_and_an_untouched_one_follows(open_tmp: Path) -> None:
    assert ship_environments(open_tmp) == []
    edited = open_tmp / "environments" / "staging.yaml"
    edited.write_text(edited.read_text() + "\n# ours\n")
    (open_tmp / "environments" / "test.yaml").unlink()
    assert ship_environments(open_tmp) == ["staging.yaml"]
    assert edited.read_text().endswith("# ours\n") and (open_tmp / "environments" / "test.yaml").exists()
    assert len(read_environments(open_tmp / "environments")) == 4


@pytest.mark.parametrize(
    "change", [{"name": "Prod!"}, {"colour": "red"}, {"sites": []}, {"entry": "yolo"}], ids=lambda one: next(iter(one))
)
def test_a_wrong_environment_file_is_named(open_tmp: Path, change: dict[str, object]) -> None:
    value = yaml.safe_load((SHIPPED_ENVIRONMENTS / "test.yaml").read_text())
    (open_tmp / "odd.yaml").write_text(yaml.safe_dump(value | change))
    with pytest.raises(ConfigError, match=r"odd\.yaml does not describe an environment"):
        read_environments(open_tmp)


def test_the_settings_about_capacity_are_put_there_once_and_are_the_teams_then(open_tmp: Path) -> None:
    ship_capacity(open_tmp)
    assert "sources:" in (open_tmp / "capacity.yaml").read_text()
    (open_tmp / "capacity.yaml").write_text("gpus: 2\n")
    ship_capacity(open_tmp)
    assert (open_tmp / "capacity.yaml").read_text() == "gpus: 2\n"


def test_sites_are_named_by_environment_and_place() -> None:
    assert "production-beta" in site_names(read_environments(SHIPPED_ENVIRONMENTS))


def test_credentials_are_made_once_private_and_kept(open_tmp: Path) -> None:
    first = ensure_credentials(open_tmp)
    assert set(first) == {*RECIPES, "backup_recipient"} and len(set(first.values())) == len(first)
    assert all(len(value) >= 20 for value in first.values())
    assert (open_tmp / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert ensure_credentials(open_tmp) == first


def test_a_credential_that_is_new_in_a_later_version_is_added(open_tmp: Path) -> None:
    first = ensure_credentials(open_tmp)
    del first["seal_key"]
    (open_tmp / "credentials.json").write_text(json.dumps(first | {"given": "by hand"}))
    again = ensure_credentials(open_tmp)
    assert again.items() >= first.items() and again["given"] == "by hand" and again["seal_key"]


def test_latency_buckets_are_log_spaced_from_a_millisecond_to_ten_seconds() -> None:
    bounds = bucket_bounds()
    ratios = [after / before for before, after in pairwise(bounds)]
    assert (len(bounds), bounds[0], bounds[-1]) == (24, 0.001, 10.0)
    assert max(ratios) - min(ratios) < 0.01
