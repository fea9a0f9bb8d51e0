"""Ports, environments and credentials of an installation."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from blocks.backup_pgbackrest import judge_binary
from blocks.installation import GENERAL, PRODUCTION, credentials_path
from deployments.stack.credentials import RECIPES, ensure_credentials, take_given
from deployments.stack.engine import decide_engine
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
from domain.backup import Availability
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


def test_keys_of_the_second_place_are_taken_out_of_the_environment_and_kept_privately(open_tmp: Path) -> None:
    shell = {"PATH": "/bin", "SLIPWAY_BACKUP_COPY_ACCESS_KEY": "AK", "SLIPWAY_BACKUP_COPY_SECRET_KEY": "secret-one"}
    known = ensure_credentials(open_tmp, take_given(shell))
    assert shell == {"PATH": "/bin"} and known["backup_copy_secret_key"] == "secret-one"
    assert ensure_credentials(open_tmp)["backup_copy_secret_key"] == "secret-one"
    again = {"SLIPWAY_BACKUP_COPY_ACCESS_KEY": "AK", "SLIPWAY_BACKUP_COPY_SECRET_KEY": "secret-two"}
    assert ensure_credentials(open_tmp, take_given(again))["backup_copy_secret_key"] == "secret-two"
    role = {name: json.loads(credentials_path(open_tmp, name).read_text()) for name in (GENERAL, PRODUCTION)}
    assert "backup_copy_secret_key" in role[PRODUCTION] and "backup_copy_secret_key" not in role[GENERAL]
    with pytest.raises(ConfigError, match="EXPIRE_ACCESS_KEY and SLIPWAY_BACKUP_COPY_EXPIRE_SECRET_KEY together"):
        take_given({"SLIPWAY_BACKUP_COPY_EXPIRE_ACCESS_KEY": "AK"})


@pytest.mark.parametrize(
    ("asked", "recorded", "found", "engine"),
    [
        ("auto", "", Availability(True, "2.59.1"), "pgbackrest"),
        ("auto", "pgbackrest", Availability(True, "2.59.1"), "pgbackrest"),
        ("auto", "barman-cloud", Availability(True, "2.59.1"), "barman-cloud"),
        ("auto", "", Availability(False, "2.45", "pgBackRest 2.45 knows up to 15"), "barman-cloud"),
        ("auto", "pgbackrest", Availability(False, reason="pgbackrest does not run"), "barman-cloud"),
        ("pgbackrest", "barman-cloud", Availability(True, "2.59.1"), "pgbackrest"),
    ],
)
def test_pgbackrest_takes_the_backups_where_it_can_and_nobody_began_otherwise(
    asked: str, recorded: str, found: Availability, engine: str
) -> None:
    choice = decide_engine(asked, recorded, found)
    assert choice.engine == engine and not choice.problem


def test_an_engine_that_was_asked_for_and_can_not_is_refused_with_its_reason(open_tmp: Path) -> None:
    old = Availability(False, "2.45", "pgBackRest 2.45 knows up to 15")
    assert "unavailable: pgBackRest 2.45 knows up to 15" in decide_engine("pgbackrest", "", old).problem
    assert "unavailable: pgBackRest 2.45 knows up to 15" in decide_engine("auto", "", old).note
    script = open_tmp / "pgbackrest"
    for version, major, reason in (("2.45", 18, "pgBackRest 2.45 knows up to 15"), ("2.55", 18, ""), ("2.45", 15, "")):
        script.with_suffix(f".{version}").write_text(f"#!/bin/sh\necho pgBackRest {version}\n")
        script.with_suffix(f".{version}").chmod(0o755)
        assert judge_binary(script.with_suffix(f".{version}"), major).reason == reason


def test_latency_buckets_are_log_spaced_from_a_millisecond_to_ten_seconds() -> None:
    bounds = bucket_bounds()
    ratios = [after / before for before, after in pairwise(bounds)]
    assert (len(bounds), bounds[0], bounds[-1]) == (24, 0.001, 10.0)
    assert max(ratios) - min(ratios) < 0.01
