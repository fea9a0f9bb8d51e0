"""`slipway cleanup`: where every policy stands, what would go, approving it, and the archives there are."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from blocks.world import open_world
from domain.chart import write_value
from domain.cleanup import PLANNED, read_plan

if TYPE_CHECKING:
    from tasks.cleanup_status import PolicyStatus

app = typer.Typer(help="Clean-up: where each policy stands, what would go, approve it, list archives.")
console = Console(width=None if sys.stdout.isatty() else 240)
WAIT_S = 3600
_POLL_S = 1.0
WELL, WAITS = 0, 1
"""Exit codes of `status`."""

Application = Annotated[str, typer.Option("--application", "-a", help="One of them, or slipway; else all.")]
Environment = Annotated[str, typer.Option("--environment", "-e", help="Whose databases.")]
Policy = Annotated[str, typer.Option("--policy", "-p", help="One policy by its name; else every one.")]


@app.command("status")
def show_status(
    application: Application = "",
    environment: Environment = "production",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, complete.")] = False,
) -> None:
    """List every policy: who approved it, what would go, what went last. Exit code 1 where one waits or failed."""
    from tasks.cleanup_status import read_cleanup_status  # not at the top: it brings Prefect

    found = read_cleanup_status(application, environment)
    if as_json:
        for one in found:
            typer.echo(json.dumps(_as_json(one), default=str))
    else:
        table = Table("where", "policy", "expires", "archive", "approved", "would go", "state", "last", box=None)
        for one in found:
            table.add_row(*_row(one))
        console.print(table if found else "There is no clean-up policy (docs/how-to/clean-up-data.md).")
    raise typer.Exit(WELL if all(one.is_well for one in found) else WAITS)


def _row(one: "PolicyStatus") -> tuple[str, ...]:
    place = "/".join(part for part in (one.application, one.environment) if part)
    if one.problem:
        return (place, "-", "-", "-", "-", "-", f"[bold red]unreadable[/] {one.problem}", "-")
    preview = one.plan.preview if one.plan else None
    state = {"ask": "[yellow]waits for an approval[/]", "apply": "goes at the next run", "nothing": "nothing expired"}
    ended = "never"
    if one.ended is not None and one.ended_at is not None:
        word = "" if one.ended["verdict"] == "PASS" else " [bold red]not true any more[/]"
        ended = f"{one.ended_at:%Y-%m-%d %H:%M} {one.ended['rows']:,}{word}"
    return (
        place,
        one.name,
        f"{one.what}, {one.older_than_days} d",
        "yes" if one.is_archived else "no",
        f"{one.approved_by} {one.approved_at:%Y-%m-%d}" if one.approved_at else "[yellow]no[/]",
        f"{preview.rows:,} ({write_value(preview.size_bytes, 'bytes')})" if preview else "-",
        state.get(one.course, "done" if one.plan else "never planned"),
        ended,
    )


def _as_json(one: "PolicyStatus") -> dict[str, Any]:
    return {
        "application": one.application,
        "environment": one.environment,
        "policy": one.name,
        "what": one.what,
        "older_than_days": one.older_than_days,
        "policy_hash": one.policy_hash,
        "archive": one.is_archived,
        "approved_by": one.approved_by,
        "course": one.course,
        "plan": one.plan.as_dict() if one.plan else None,
        "last": one.ended,
        "problem": one.problem,
    }


@app.command("preview")
def preview(application: Application = "", environment: Environment = "production", policy: Policy = "") -> None:
    """Start the flow `cleanup` as a dry run, and show what would go: count, bytes, range, sample, hashes."""
    run = _start("cleanup/cleanup", _parameters(application, environment, policy, dry_run=True))
    is_well = _watch(run)
    for entry in open_world().ledger.entries(kinds=[PLANNED], run=run, limit=1000):
        plan = read_plan(dict(entry.data))
        seen = plan.preview
        place = "/".join(part for part in (plan.application, plan.environment) if part)
        console.print(
            f"\n{place} {plan.policy}: {seen.rows:,} of {seen.total_rows:,} ({seen.share_percent} %), "
            f"{write_value(seen.size_bytes, 'bytes')}, by {seen.method}",
            markup=False,
        )
        console.print(f"  older than {plan.cutoff}; from {seen.oldest or '-'} to {seen.newest or '-'}", markup=False)
        for name, rows in seen.related:
            console.print(f"  with {rows:,} of {name}", markup=False)
        console.print(f"  held: {seen.held_rows:,}; first: {'; '.join(seen.sample) or '-'}", markup=False)
        console.print(f"  policy {plan.policy_hash[:16]}, plan {plan.hash[:16]}", markup=False)
    raise typer.Exit(0 if is_well else 1)


@app.command("now")
def clean_now(application: Application = "", environment: Environment = "production", policy: Policy = "") -> None:
    """Start the flow `cleanup`: what is approved goes, what is not is counted. Exit code 1 where one failed."""
    run = _start("cleanup/cleanup", _parameters(application, environment, policy, dry_run=False))
    raise typer.Exit(0 if _watch(run) else 1)


@app.command("approve")
def approve(
    application: Annotated[str, typer.Argument(help="The application, or slipway.")],
    policy: Annotated[str, typer.Argument(help="The policy's name.")],
    administrator: Annotated[str, typer.Option("--as", help="Your name, as enrolled, with the role administrator.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.", prompt="Reason")],
    code: Annotated[str, typer.Option(help="Six digits from your authenticator.", prompt="Code", hide_input=True)],
    hash: Annotated[str, typer.Option(help="Of the policy (for always) or of one plan (once), as shown.")] = "",
    environment: Environment = "production",
    share_percent: Annotated[float, typer.Option(help="Above 30 % of a table: the share, as your word.")] = 0.0,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take every approval of it back.")] = False,
) -> None:
    """Approve a policy, or one plan of it, by the hash that `slipway cleanup preview` showed."""
    parameters = {
        "application": application,
        "policy": policy,
        "reason": reason,
        "administrator": administrator,
        "code": code,
        "hash": hash,
        "environment": environment,
        "share_percent": share_percent,
        "withdraw": withdraw,
    }
    raise typer.Exit(0 if _watch(_start("cleanup_approval/cleanup_approval", parameters)) else 1)


@app.command("archives")
def show_archives(application: Application = "") -> None:
    """List the newest archives, what they hold, and whether they are encrypted; `restore_archive` takes the prefix."""
    from tasks.cleanup_status import list_archives  # not at the top: it brings Prefect

    table = Table("written (UTC)", "rows", "stored", "encrypted", "prefix", box=None)
    for one in list_archives(application):
        encrypted = one.encryption if one.encryption != "none" else "[bold red]no[/]"
        size = write_value(one.size_bytes, "bytes")
        table.add_row(f"{one.at:%Y-%m-%d %H:%M:%S}", f"{one.rows:,}", size, encrypted, one.prefix)
    console.print(table)


def _parameters(application: str, environment: str, policy: str, *, dry_run: bool) -> dict[str, Any]:
    return {"application": application, "environment": environment, "policy": policy, "dry_run": dry_run}


def _start(deployment: str, parameters: dict[str, Any]) -> str:
    world = open_world()
    run = world.flow_runs.start(deployment, parameters=parameters, idempotency_key=f"{deployment}:{uuid4()}")
    console.print(f"Started: {world.run_records.url(run)}", soft_wrap=True)
    return run


def _watch(run: str) -> bool:
    """Wait for a run's end; whether it was a good one."""
    world, deadline = open_world(), time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        record = world.run_records.find(run)
        if record is not None and record.has_ended:
            console.print(f"{record.state}. {record.message}".strip(), markup=False, soft_wrap=True)
            return record.state == "completed"
        time.sleep(_POLL_S)
    console.print("It still runs. Look at it in the Prefect UI.")
    return False
