"""The parts' settings are those that Prefect, Traefik and supervisor really read."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from blocks.installation import Installation, Users, read_secret
from blocks.postgres_server import packaged_binaries
from blocks.supervisor import Program
from deployments.stack import parts
from deployments.stack.credentials import ensure_credentials
from deployments.stack.layout import plan_ports
from deployments.stack.parts import Kit
from deployments.stack.settings import read_settings
from deployments.stack.traefik import static_configuration
from domain.errors import ConfigError

READ_BACK = """
from prefect.settings import get_current_settings
s = get_current_settings()
v = s.server.services.db_vacuum
print(s.server.database.connection_url.get_secret_value())
print(s.server.encryption_key is not None if hasattr(s.server, "encryption_key") else "unknown")
print(sorted(v.enabled) if not isinstance(v.enabled, bool) else v.enabled, v.retention_period.total_seconds())
print(s.server.concurrency.lease_storage, s.server.services.repossessor.loop_seconds)
print(s.server.analytics_enabled, s.server.api.auth_string is not None, s.api.auth_string is not None, s.api.url)
print(s.worker.query_seconds, s.flows.heartbeat_frequency, s.results.local_storage_path, s.home)
"""


@pytest.fixture
def kit(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    monkeypatch.setenv("SLIPWAY_STATE", str(open_tmp))
    for name in ("logs", "prefect", "code"):
        (open_tmp / name).mkdir()
    settings = read_settings({"SLIPWAY_RUN_RETENTION_DAYS": "7"})
    installation = Installation(
        state=open_tmp,
        sockets=open_tmp / "s",
        ports=plan_ports(4200, ["test-main", "production-alpha"]),
        users=Users(),
        python=Path(sys.executable),
        postgres_bin=packaged_binaries(),
        build_variables=settings.build_variables,
    )
    shell = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/home/ann",
        "PIP_INDEX_URL": "https://packages.example",
        "AWS_KEY": "x",
    }
    return Kit(
        installation=installation,
        settings=settings,
        credentials=ensure_credentials(open_tmp),
        environ=shell,
        code=open_tmp / "code",
    )


def _read_back(environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def test_prefect_reads_every_setting_that_we_give_its_server_and_worker(kit: Kit) -> None:
    """A misspelt variable would be ignored without a word."""
    both = {**parts.flow_environment(kit), **parts.prefect(kit).environment}
    lines = _read_back(both)
    assert lines[0].startswith("postgresql+asyncpg://prefect:") and lines[0].endswith("@127.0.0.1:4202/prefect")
    assert lines[2] == f"['events', 'flow_runs'] {7 * 86400.0}"
    assert lines[3] == "prefect.server.concurrency.lease_storage.filesystem 15.0"
    assert lines[4] == "False True True http://127.0.0.1:4200/api"
    assert lines[5] == f"1.0 30 {kit.installation.state}/prefect/storage {kit.installation.state}/prefect"


def test_the_encryption_key_reaches_prefect_by_the_name_it_reads(kit: Kit) -> None:
    source = Path(__import__("prefect").__file__).parent
    readers = [path for path in source.rglob("*.py") if "PREFECT_SERVER_ENCRYPTION_KEY" in path.read_text().upper()]
    assert readers and parts.prefect(kit).environment["PREFECT_SERVER_ENCRYPTION_KEY"]


def test_secrets_reach_only_the_parts_that_need_them(kit: Kit) -> None:
    programs = [parts.postgres(kit), parts.prefect(kit), *parts.workers(kit), parts.keeper(kit), parts.door(kit)]
    programs.append(parts.archiver(kit))
    texts = {program.name: " ".join(program.environment.values()) for program in programs}
    knowing = {
        name: sorted(part for part, text in texts.items() if value in text) for name, value in kit.credentials.items()
    }
    assert knowing["postgres_superuser"] == knowing["postgres_slipway"] == knowing["seal_key"] == []
    assert knowing["postgres_prefect"] == knowing["prefect_encryption_key"] == ["prefect"]
    assert knowing["prefect_auth"] == ["door", "prefect", "worker", "worker-production"]
    assert not any(value in " ".join(program.command) for program in programs for value in kit.credentials.values())


def test_an_up_by_the_keeper_changes_no_part(kit: Kit) -> None:
    """Or every supervisor that dies would restart Prefect, workers and door."""

    def programs(kit: Kit) -> list[Program]:
        own = [parts.postgres(kit), parts.prefect(kit), *parts.workers(kit), parts.door(kit), parts.keeper(kit)]
        return [*own, parts.archiver(kit)]

    own = programs(kit)
    assert programs(dataclasses.replace(kit, environ=parts.keeper(kit).environment)) == own


def test_builds_keep_the_listed_variables_and_nothing_else(kit: Kit) -> None:
    worker = parts.general_worker(kit).environment
    assert worker["PIP_INDEX_URL"] == "https://packages.example" and "AWS_KEY" not in worker
    assert "PIP_INDEX_URL" not in parts.prefect(kit).environment


def test_a_start_without_a_shell_builds_as_before_and_an_empty_value_takes_one_away(kit: Kit) -> None:
    parts.build_environment(kit)
    later = dataclasses.replace(kit, environ={"PATH": "/bin", "HTTPS_PROXY": "http://proxy:3128"})
    assert parts.build_environment(later) == {
        "PIP_INDEX_URL": "https://packages.example",
        "HTTPS_PROXY": "http://proxy:3128",
    }
    without = dataclasses.replace(kit, environ={"PIP_INDEX_URL": ""})
    assert parts.build_environment(without) == {"HTTPS_PROXY": "http://proxy:3128"}
    assert (kit.installation.state / "build-environment.json").stat().st_mode & 0o077 == 0


def test_with_pgbackrest_the_log_goes_to_it_and_the_store_opens_its_tls_port(kit: Kit) -> None:
    (kit.installation.state / "s3").mkdir()
    with_it = dataclasses.replace(kit, installation=dataclasses.replace(kit.installation, backup_engine="pgbackrest"))
    command = parts.postgres_server(with_it).settings["archive_command"]
    configuration = kit.installation.state / "pgbackrest" / "write" / "pgbackrest.conf"
    assert command == f"/usr/bin/pgbackrest --config={configuration} --stanza=main archive-push %p"
    assert "archive.sock put" in parts.postgres_server(kit).settings["archive_command"]
    port = f"-s3.port.https={kit.installation.ports['s3-tls']}"
    assert port in parts.s3(with_it).command and port not in parts.s3(kit).command
    assert not any(kit.credentials["backup_cipher"] in " ".join(parts.postgres(one).command) for one in (kit, with_it))


def test_other_keys_of_the_archiver_start_it_anew(kit: Kit) -> None:
    later = dataclasses.replace(kit, credentials={**kit.credentials, "s3_backup_secret_key": "another"})
    assert parts.archiver(later) != parts.archiver(kit)


def test_no_worker_has_a_limit_of_its_own(kit: Kit) -> None:
    for worker in parts.workers(kit):
        assert not any("limit" in word for word in worker.command)


def test_the_general_worker_shares_no_folder_of_prefect_with_production(kit: Kit) -> None:
    general, production = (worker.environment for worker in parts.workers(kit))
    for name in ("PREFECT_HOME", "PREFECT_RESULTS_LOCAL_STORAGE_PATH"):
        assert not Path(general[name]).is_relative_to(production["PREFECT_HOME"])


def test_new_code_of_ours_does_not_start_a_worker_anew(kit: Kit) -> None:
    """A worker that is started anew ends the runs under way."""
    later = dataclasses.replace(kit, code=kit.code.with_name("another"))
    assert parts.workers(later) == parts.workers(kit)


def test_traefik_calls_nobody_and_counts_per_service(kit: Kit) -> None:
    value = yaml.safe_load(static_configuration(kit.installation, "production-alpha"))
    assert value["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
    assert {point["address"] for point in value["entryPoints"].values()} == {"127.0.0.1:4211", "127.0.0.1:4231"}
    assert value["metrics"]["prometheus"]["addServicesLabels"] and len(value["metrics"]["prometheus"]["buckets"]) == 24
    assert value["providers"]["file"]["watch"] is True


def test_every_log_is_rotated(kit: Kit) -> None:
    for program in (parts.postgres(kit), parts.prefect(kit), *parts.workers(kit), parts.keeper(kit)):
        assert 0 < program.log_size_bytes_max <= 50_000_000 and 0 < program.log_backups <= 5
        assert program.log.parent == kit.installation.state / "logs"


def test_nothing_of_the_operators_own_prefect_leaks_in(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "mine")
    assert "PREFECT_API_KEY" in os.environ and "PREFECT_API_KEY" not in parts.flow_environment(kit)


def test_each_worker_reads_the_secrets_of_its_role_and_no_other(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    general, production = (worker.environment["SLIPWAY_ROLE"] for worker in parts.workers(kit))
    monkeypatch.setenv("SLIPWAY_ROLE", general)
    assert read_secret("postgres_general", state=kit.installation.state) == kit.credentials["postgres_general"]
    for name in ("postgres_slipway", "postgres_superuser", "seal_key", "settings_key_production"):
        with pytest.raises(ConfigError, match=r"credentials\.general\.json"):
            read_secret(name, state=kit.installation.state)
    monkeypatch.setenv("SLIPWAY_ROLE", production)
    assert read_secret("seal_key", state=kit.installation.state) == kit.credentials["seal_key"]
    for name in ("postgres_prefect", "prefect_encryption_key"):
        with pytest.raises(ConfigError, match=r"credentials\.production\.json"):
            read_secret(name, state=kit.installation.state)
    files = list(kit.installation.state.rglob("credentials*.json"))
    assert len(files) == 4 and all(path.stat().st_mode & 0o077 == 0 for path in files)
