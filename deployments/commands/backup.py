"""`slipway backup`: take one now, see what there is and what it lacks, hold one, and write the recovery kit."""

import getpass
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from blocks.installation import read_installation
from blocks.world import open_world
from domain.backup import Backup
from domain.chart import write_value
from domain.errors import ConfigError
from domain.ledger import Event

app = typer.Typer(help="Backups: take one now, list them, see what is protected, hold one, write the recovery kit.")
console = Console(width=None if sys.stdout.isatty() else 200)
WAIT_S = 6 * 3600
_POLL_S = 1.0
NOTHING_WRONG, UNPROTECTED = 0, 1
"""Exit codes of `status`."""


@app.command("now")
def take_now(
    dumps: Annotated[bool, typer.Option("--dumps", help="Also dump each database, as every Sunday.")] = False,
    kind: Annotated[
        str, typer.Option(help="full; differential or incremental where the engine can; auto: as every night.")
    ] = "full",
) -> None:
    """Start the flow `backup` and watch it to its end. Exit code 1 where it does not end well."""
    world, able = open_world(), ("auto", *(one.value for one in open_world().backup_engine("read").kinds))
    if kind not in able:
        raise ConfigError(f"--kind {kind} can't be taken here. Use one of: {', '.join(able)}.")
    parameters = {"kind": kind, "with_dumps": dumps}
    run = world.flow_runs.start("backup/backup", parameters=parameters, idempotency_key=f"backup:{uuid4()}")
    console.print(f"Started: {world.run_records.url(run)}", soft_wrap=True)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        record = world.run_records.find(run)
        if record is not None and record.has_ended:
            console.print(f"backup {record.state}. {record.message}".strip(), soft_wrap=True)
            raise typer.Exit(0 if record.state == "completed" else 1)
        time.sleep(_POLL_S)
    console.print("It still runs. Look at it in the Prefect UI.")
    raise typer.Exit(1)


@app.command("list")
def list_backups(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, complete.")] = False,
) -> None:
    """List every backup of PostgreSQL in the repository, oldest first; unfinished ones too."""
    from domain.backup_report import explain_rule
    from tasks.backup import choose_kept  # not at the top: it brings Prefect

    found, kept = open_world().backup_engine("read").backups(), choose_kept().kept
    if as_json:
        for one in found:
            typer.echo(json.dumps({**one.as_dict(), "kept_by": list(kept.get(one.id, ()))}))
        return
    table = Table("id", "kind", "state", "begun (UTC)", "took", "stored", "encrypted", "target", "kept by", box=None)
    for one in found:
        why = ", ".join(explain_rule(rule) for rule in kept.get(one.id, ()))
        table.add_row(*_row(one), why or ("goes next" if one.is_done else "swept after a day"))
    console.print(table)


@app.command("status")
def show_status() -> None:
    """Say what is protected, and what each thing lacks. Exit code 1 where PostgreSQL is not protected."""
    from blocks.embedded_backups import probe_pgbackrest
    from tasks.backup import choose_kept, judge_all  # not at the top: it brings Prefect

    world = open_world()
    engine = world.backup_engine("write")
    available = engine.availability()
    version = available.version if available.is_available else f"unavailable: {available.reason}"
    console.print(f"engine {engine.name} {version}", soft_wrap=True)
    other = probe_pgbackrest(read_installation())
    words = f"{other.version}, present and not used" if other.is_available else f"unavailable: {other.reason}"
    if engine.name != "pgbackrest":
        console.print(f"pgbackrest {words}", soft_wrap=True)
    from domain.backup_report import explain_protection

    table = Table("what", "protected", "newest (UTC)", "stored", "encrypted", "lacks", box=None, pad_edge=False)
    protections = judge_all()
    for one in protections:
        newest = f"{one.newest_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if one.newest_at else "never"
        lacks = explain_protection(one, language=world.language)
        table.add_row(
            one.name,
            "yes" if one.is_protected else "[bold red]no[/]",
            newest,
            write_value(one.stored_bytes, "bytes"),
            one.encryption,
            lacks,
        )
    console.print(table)
    log = engine.wal_state()
    gaps = ", ".join(f"{gap.first} ({gap.count})" for gap in log.gaps) or "none"
    console.print(
        f"log archive: {log.segments} segments, newest {log.newest or '-'}, {log.waiting} waiting, "
        f"lag {log.lag_s:.0f} s, gaps: {gaps}",
        soft_wrap=True,
    )
    place = world.backup_copies.place()
    console.print(
        f"second place: {place.where or 'none'}{f' ({place.reason})' if place.reason else ''}", soft_wrap=True
    )
    choice, elsewhere = choose_kept(), world.backup_copies.kept_elsewhere()
    console.print(
        f"kept: {len(choice.kept)} here, {len(elsewhere)} at the second place; rules: {world.retention.as_text()}; "
        f"goes next: {', '.join(choice.expired) or 'none'} (why each stays: slipway backup list)",
        soft_wrap=True,
    )
    raise typer.Exit(NOTHING_WRONG if protections[0].is_protected else UNPROTECTED)


@app.command("hold")
def hold_backup(
    backup: Annotated[str, typer.Argument(help="The backup's id, as `slipway backup list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why it must stay; shown wherever it is listed.")] = "",
    release: Annotated[bool, typer.Option("--release", help="Let it expire again.")] = False,
) -> None:
    """Keep a backup for ever, whatever the rules say; with --release let it go again."""
    if bool(reason.strip()) == release:
        raise ConfigError("Say --reason why it must stay, or --release to let it go; one of the two.")
    world = open_world()
    world.backup_engine("expire" if release else "write").hold(backup, reason=reason.strip())
    kind = "backup.released" if release else "backup.held"
    key, data = f"{kind}:{uuid4()}", {"id": backup, "reason": reason.strip()}
    world.ledger.append(Event(kind, actor=getpass.getuser(), key=key, data=data))
    console.print(f"{backup} {'may expire again' if release else 'is held'}.")


@app.command("kit")
def write_recovery_kit(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
) -> None:
    """Write the recovery kit, which brings everything back on an empty machine. It holds every secret."""
    from blocks.backup_server import BackupServer
    from blocks.embedded_backups import superuser_url
    from deployments.recovery_kit import digest_secrets, make_kit, write_kit

    installation, now = read_installation(), datetime.now(UTC)
    facts = BackupServer(lambda: superuser_url(installation)).facts()
    kit = make_kit(installation, system_id=facts.system_id, now=now)
    write_kit(file, kit)
    data, key = {"secrets_sha256": digest_secrets(kit["secrets"])}, f"recovery_kit.written:{uuid4()}"
    open_world().ledger.append(Event("recovery_kit.written", actor=getpass.getuser(), key=key, data=data))
    console.print(f"{file}: the recovery kit. It opens every backup: print it, or keep it on a medium in a safe.")
    console.print("Then remove the file from this machine. After `slipway rotate` write a new one.")


def _row(one: Backup) -> tuple[str, ...]:
    begun = f"{one.begun_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    took = f"{one.seconds:.1f} s" if one.is_done else "-"
    stored = write_value(one.stored_bytes, "bytes")
    return (one.id, one.kind.value, one.state.value, begun, took, stored, one.encryption, one.target_lsn)
