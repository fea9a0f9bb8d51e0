"""Engines and the log archive under faults: binaries missing, crashing or too old, and a store that goes away."""

import json
import secrets
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
from fixtures_backup import PASSWORD, ArchivingServer, BarmanBench, DebianServer, debian_binaries, restored_rows
from fixtures_s3 import s3_account

from blocks.backup_barman import BarmanEngine
from blocks.backup_bucket import BackupBucket
from blocks.backup_pgbackrest import PgBackRestEngine, Repository, archive_push
from blocks.backup_server import BackupServer
from blocks.backup_tools import follow
from blocks.bucket import Account
from blocks.embedded_backups import open_engine, open_pgbackrest, pgbackrest_folder, probe_pgbackrest
from blocks.guarded import Order
from blocks.identity import as_user, clean_environment, give
from blocks.installation import Installation, Users, write_private
from blocks.wal_settings import archive_settings
from domain.backup import BackupKind, BackupState
from domain.errors import ConfigError, InvariantError, TransientError


def tools(folder: Path, script: str) -> Path:
    """Stand-ins for barman-cloud's commands."""
    folder.mkdir()
    for name in ("barman-cloud-backup", "barman-cloud-restore"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def engine(tool_folder: Path) -> BarmanEngine:
    bucket = BackupBucket(Account("http://127.0.0.1:1", "a", "b"))
    return BarmanEngine(bucket, server=None, python=Path(), client=Path("/unused"), tools=tool_folder)


@pytest.mark.parametrize("script", ["kill -SEGV $$", "exit 3", "echo no version"])
def test_a_binary_that_crashes_or_says_nothing_is_unavailable_and_never_an_error(open_tmp: Path, script: str):
    found = engine(tools(open_tmp / "tools", script)).availability()
    assert not found.is_available and "barman-cloud-backup does not run" in found.reason


def test_a_binary_that_is_missing_is_unavailable_and_a_backup_by_it_is_refused(open_tmp: Path):
    away = engine(open_tmp)
    assert not away.availability().is_available
    with pytest.raises(ConfigError, match="unavailable: barman-cloud-backup"):
        away.backup(BackupKind.FULL, label="x", limit_s=5)


def test_a_tool_that_ends_with_0_and_made_nothing_is_no_backup(barman_bench: BarmanBench, open_tmp: Path):
    bench = barman_bench
    folder = tools(open_tmp / "tools", "echo 3.19.1")
    lying = BarmanEngine(
        bench.bucket("s3_backup"),
        server=BackupServer(lambda: bench.source.url),
        python=bench.python,
        client=bench.client,
        tools=folder,
        cluster=bench.cluster,
    )
    with pytest.raises(InvariantError, match="left no finished backup"):
        lying.backup(BackupKind.FULL, label="lie", limit_s=60)
    assert not [one for one in bench.engine.backups() if one.is_done]


def test_on_18_pgbackrest_says_that_it_knows_up_to_15(
    archiving_server: ArchivingServer, s3: Installation, open_tmp: Path
):
    debian_binaries()
    repository = Repository(BackupBucket(s3_account(s3, "s3_backup")), "https://localhost:1", open_tmp / "ca", "x")
    old = PgBackRestEngine(
        repository,
        server=BackupServer(lambda: archiving_server.url),
        data=archiving_server.server.data,
        user=archiving_server.server.user,
        folder=open_tmp,
    )
    found = old.availability()
    if found.version != "2.45":
        pytest.skip(f"pgBackRest {found.version} is not the one of Debian 12")
    assert found.reason == "pgBackRest 2.45 knows up to 15"
    with pytest.raises(ConfigError, match=r"^unavailable: pgBackRest 2\.45 knows up to 15$"):
        old.backup(BackupKind.FULL, label="x", limit_s=60)


@contextmanager
def installed(s3: Installation, users: Users, folder: Path) -> Generator[Installation]:
    """An installation as the stack lays it out, whose server is Debian's PostgreSQL 15 and whose engine pgBackRest."""
    bin, state = debian_binaries(), folder / "state"
    sockets = folder / "sockets"
    (sockets / "postgres").mkdir(parents=True)
    for place in (sockets, sockets / "postgres"):
        give(place, users.database, mode=0o755)
    settings = archive_settings(archive_push(state / "pgbackrest" / "write"), timeout_s=60)
    source = DebianServer(folder, bin=bin, user=users.database, settings=settings)
    source.server = replace(source.server, data=state / "postgres", sockets=sockets / "postgres")
    state.mkdir()
    state.chmod(0o755)
    (state / "s3").symlink_to(s3.state)
    keys = json.loads((s3.state / "credentials.json").read_text())
    more = {"postgres_superuser": PASSWORD, "backup_cipher": secrets.token_hex(32)}
    write_private(state / "credentials.json", json.dumps(keys | more))
    installation = replace(
        s3,
        state=state,
        sockets=sockets,
        ports={**s3.ports, "postgres": source.server.port},
        users=users,
        postgres_bin=bin,
        backup_engine="pgbackrest",
    )
    source.initialise()
    with source.running(folder / "log"):
        yield installation


def test_opened_as_the_stack_does_it_takes_what_changed_since_a_full_one_and_since_the_last(
    s3: Installation, users: Users, open_tmp: Path
):
    with installed(s3, users, open_tmp) as installation:
        assert probe_pgbackrest(installation).is_available
        open_pgbackrest(installation, "write").prepare()
        engine = open_engine(installation, "write")
        kinds = (BackupKind.FULL, BackupKind.INCREMENTAL, BackupKind.DIFFERENTIAL)
        full, since_last, since_full = (engine.backup(kind, label=kind.value, limit_s=120) for kind in kinds)
        assert [one.kind for one in (full, since_last, since_full)] == list(kinds)
        assert since_last.parent == since_full.parent == full.id and since_full.encryption == "engine"
        assert open_engine(installation, "read").verify(since_full.id).is_intact
        assert engine.wal_state(since=full.begin_wal).is_whole
        expirer = open_engine(installation, "expire")
        assert expirer.expire([since_last.id], dry_run=False).backups == (since_last.id,)
        assert [one.id for one in engine.backups()] == [full.id, since_full.id]
        configuration = pgbackrest_folder(installation, "write") / "pgbackrest.conf"
        assert configuration.stat().st_mode & 0o077 == 0


def test_a_tool_that_reads_nothing_any_more_is_ended_with_its_children_and_may_be_asked_again(open_tmp: Path):
    order = Order(["/bin/sh", "-c", "(setsid sleep 4343 &) ; sleep 4343"], Path("/"), clean_environment(), limit_s=60)
    with pytest.raises(TransientError, match="read nothing for 1 s and was ended"):
        follow(order, 1, lambda progress: None, stalled_s=1)
    assert not [one for one in psutil.process_iter(["cmdline"]) if "4343" in (one.info["cmdline"] or [])]


def test_a_server_without_page_checksums_is_refused_with_the_command_that_makes_them(
    s3: Installation, users: Users, postgres_bin: Path, open_tmp: Path
):
    give(open_tmp, users.database, mode=0o711)
    source = ArchivingServer(open_tmp, bin=postgres_bin, user=users.database, settings={})
    source.server.initialise(PASSWORD, durable=False)
    command = [str(postgres_bin / "pg_checksums"), "--disable", "--no-sync", "-D", str(source.server.data)]
    subprocess.run(command, check=True, capture_output=True, cwd="/", **as_user(users.database))
    with source.running(open_tmp / "log"):
        bucket, server = BackupBucket(s3_account(s3, "s3_backup")), BackupServer(lambda: source.url)
        bare = BarmanEngine(bucket, server=server, python=Path(), client=Path("/unused"), cluster="bare")
        with pytest.raises(ConfigError, match=r"no page checksums.*pg_checksums --enable"):
            bare.backup(BackupKind.FULL, label="x", limit_s=60)
        assert bare.backups() == []


def test_two_backups_of_one_server_at_once_are_refused(barman_bench: BarmanBench):
    with (
        BackupServer(lambda: barman_bench.source.url).alone(),
        pytest.raises(TransientError, match="at work"),
    ):
        barman_bench.engine.backup(BackupKind.FULL, label="second", limit_s=60)


def test_a_backup_at_its_limit_is_ended_with_all_of_its_children(barman_bench: BarmanBench, open_tmp: Path):
    bench = barman_bench
    script = '[ "$1" = --version ] && echo 3.19.1 && exit; (setsid sleep 4242 &) ; sleep 4242'
    slow = BarmanEngine(
        bench.bucket("s3_backup"),
        server=BackupServer(lambda: bench.source.url),
        python=bench.python,
        client=bench.client,
        tools=tools(open_tmp / "tools", script),
        cluster=bench.cluster,
    )
    with pytest.raises(TransientError, match="limit"):
        slow.backup(BackupKind.FULL, label="slow", limit_s=1)
    assert not [one for one in psutil.process_iter(["cmdline"]) if "4242" in (one.info["cmdline"] or [])]


@contextmanager
def stopped(installation: Installation) -> Generator[None]:
    """The store answers nobody: its process is stopped."""
    (weed,) = [
        one
        for one in psutil.process_iter(["cmdline"])
        if f"-s3.port={installation.ports['s3']}" in (one.info["cmdline"] or [])
    ]
    weed.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        weed.send_signal(signal.SIGCONT)


def test_while_the_store_is_away_the_server_keeps_its_log_and_nothing_is_lost(
    barman_bench: BarmanBench, s3: Installation, open_tmp: Path
):
    bench = barman_bench
    bench.write("before")
    older = bench.engine.backup(BackupKind.FULL, label="older", limit_s=120)
    with stopped(s3):
        for n in range(3):
            bench.source.execute("INSERT INTO said (text) VALUES (%s)", f"away {n}")
            bench.source.execute("SELECT pg_switch_wal()")
        time.sleep(1)
        assert BackupServer(lambda: bench.source.url).archiver().waiting >= 1
    reached = bench.write("after")
    state = bench.engine.wal_state(since=older.begin_wal)
    assert state.is_whole and state.waiting == 0
    rows = restored_rows(bench, older, reached, open_tmp / "data")
    assert rows == ["before", "away 0", "away 1", "away 2", "after"]
    assert [one.state for one in bench.engine.backups()] == [BackupState.DONE]


def test_a_lost_or_damaged_segment_ends_recovery_red_and_is_named_before(barman_bench: BarmanBench, open_tmp: Path):
    bench = barman_bench
    bench.write("a")
    taken = bench.engine.backup(BackupKind.FULL, label="log", limit_s=120)
    bench.write("b")
    reached = bench.write("c")
    bucket = bench.bucket("s3_backup_expire")
    folder = f"postgres/{bench.cluster}/wals/"
    lost = sorted(one.key for one in bucket.objects(folder) if one.key.rpartition("/")[2][:24] > taken.end_wal)[1]
    bucket.remove([lost])
    (gap,) = bench.engine.wal_state(since=taken.begin_wal).gaps
    assert gap.first == gap.last == lost.rpartition("/")[2].removesuffix(".zst")
    with pytest.raises((AssertionError, TransientError, psycopg.OperationalError)):
        restored_rows(bench, taken, reached, open_tmp / "data")
    assert "recovery ended before configured recovery target was reached" in (open_tmp / "data.log").read_text()
