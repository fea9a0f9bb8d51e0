"""`slipway doctor`: the first broken thing and the command that mends it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from domain.diagnosis import Finding, first_broken

console = Console()

PAGE = "docs/how-to/find-what-is-broken.md"
_MARKS = {"well": "[green]✓[/]", "look": "[yellow]![/]", "broken": "[red]✗[/]", "skipped": "[dim]-[/]"}


def register(app: typer.Typer) -> None:
    """Add the command to the operators' command line."""
    app.command("doctor")(doctor)


def doctor(
    show_all: Annotated[bool, typer.Option("--all", help="Look at everything and print it all.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs; with --all, everything.")] = False,
) -> None:
    """Print the first broken thing and the command to run. Exit code 1 when something is broken.

    Looks from the ground up: packages, files, disk, supervisor, each part, PostgreSQL, the ledger, S3, Prefect and what
    is registered there, then routes, instances, runs and people. Changes nothing. Run it again after the command.
    """
    from deployments.doctor.case import Case
    from deployments.doctor.examining import examine
    from deployments.stack.settings import read_settings

    examination = examine(Case(read_settings()))
    findings = list[Finding]()
    for finding in examination:
        findings.append(finding)
        if finding.state == "broken" and not show_all:
            break
    broken = first_broken(findings)
    if as_json:
        shown = findings if show_all else [one for one in findings if one.state in ("broken", "look")]
        print(json.dumps([asdict(one) | {"page": f"{PAGE}#{one.check}"} for one in shown], indent=2))
    else:
        _print(findings, broken, show_all=show_all)
    if broken is not None:
        raise typer.Exit(1)


def _print(findings: list[Finding], broken: Finding | None, *, show_all: bool) -> None:
    if show_all:
        for finding in findings:
            _line(f"{_MARKS[finding.state]} {finding.check:<13}", finding.found)
            if finding.command:
                _line(f"  {'':<13}", f"→ {finding.command}")
    elif broken is not None:
        _line("[bold red]Broken:[/]", f"{broken.check}. {broken.found}")
        _line("[bold]Run:[/]   ", broken.command)
        _line("[dim]See:   [/]", f"{PAGE}#{broken.check}")
    if broken is None:
        names = {finding.check for finding in findings}
        console.print(f"Nothing is broken: {len(names)} checks.", highlight=False)
    if show_all:
        return
    for finding in findings:
        if finding.state == "look":
            _line(f"[yellow]Worth a look:[/] {finding.check}:", f"{finding.found}  → {finding.command}")


def _line(head: str, text: str) -> None:
    console.print(head, end=" ")
    console.print(text, soft_wrap=True, highlight=False, markup=False)
