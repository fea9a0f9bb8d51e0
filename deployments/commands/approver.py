"""`slipway approver`: who may decide, where, and how they prove it."""

import sys
from typing import Annotated

import qrcode
import typer
from rich.console import Console
from rich.table import Table

from blocks.world import open_world
from deployments import enrolment
from deployments.enrolment import describe_place, find
from domain.enrolment import CONFIRMERS
from domain.errors import ConfigError
from domain.ports import Approver
from domain.roles import APPROVER, ROLES, parse_role, spread_roles

app = typer.Typer(help="Who may approve releases, roll back and unblock; each proves it with a one-time code.")
console = Console()

Name = Annotated[str, typer.Argument(help="The enrolled name.")]
RoleNames = Annotated[list[str] | None, typer.Option("--role", help="approver or administrator; may be repeated.")]
Applications = Annotated[
    list[str] | None, typer.Option("--application", help="Only for this application; may be repeated. Else all.")
]
Environments = Annotated[
    list[str] | None, typer.Option("--environment", help="Only in this environment; may be repeated. Else all.")
]
Logins = Annotated[
    list[str] | None,
    typer.Option(
        "--login",
        help="A forge log-in, e-mail address or name in commits of the same person: nobody approves what they pushed "
        "or wrote. May be repeated.",
    ),
]
NoQr = Annotated[bool, typer.Option("--no-qr", help="Print the provisioning URI instead of a QR code.")]


@app.command("add")
def add_approver(
    name: Annotated[str, typer.Argument(help="The name that the person types into the approval form.")],
    role: RoleNames = None,
    application: Applications = None,
    environment: Environments = None,
    login: Logins = None,
    no_qr: NoQr = False,
) -> None:
    """Enrol a person and show, once, the QR code for their authenticator (TOTP, RFC 6238).

    Example: `slipway approver add ann --role approver --application helpdesk --environment production
    --login ann@example.org`
    """
    _refuse_no_terminal(no_qr)
    roles = spread_roles(role or [APPROVER], application or [], environment or [])
    uri = enrolment.enrol(open_world(), Approver(name=name, roles=roles, logins=tuple(login or ())))
    _show_seed(uri, name, no_qr=no_qr)
    if not login:
        complain = f"No --login was given: commits of {name} under another name than '{name}' will not be recognised."
        print(f"{complain} Add them with `slipway approver roles {name} --login …`.", file=sys.stderr)


@app.command("list")
def list_approvers() -> None:
    """List who may decide, and where."""
    table = Table("name", "role", "where", "log-ins", box=None, pad_edge=False)
    for approver in open_world().approvers.list():
        for number, role in enumerate(parse_role(text) for text in approver.roles):
            first = number == 0
            table.add_row(
                approver.name if first else "",
                role.name,
                describe_place(role),
                ", ".join(approver.logins) if first else "",
            )
    console.print(table)


@app.command("roles")
def change_roles(
    name: Name,
    role: RoleNames = None,
    application: Applications = None,
    environment: Environments = None,
    login: Logins = None,
    without_login: Annotated[
        list[str] | None, typer.Option("--without-login", help="Take a log-in off; may be repeated.")
    ] = None,
) -> None:
    """Replace the roles of a person (with --role), add log-ins or take some off; in force at once.

    Without options: show them. Example: `slipway approver roles ann --role administrator --environment staging`
    """
    world = open_world()
    known = find(world, name)
    if (application or environment) and not role:
        raise typer.BadParameter(f"Say which role holds there: add --role {' or --role '.join(ROLES)}.")
    roles = spread_roles(role, application or [], environment or []) if role else known.roles
    logins = [one for one in dict.fromkeys((*known.logins, *(login or ()))) if one not in (without_login or ())]
    wanted = Approver(name, roles, tuple(logins))
    if wanted != known:
        enrolment.change(world, wanted)
    for one in (parse_role(text) for text in wanted.roles):
        console.print(f"{name}: {one.name} ({describe_place(one)})", markup=False, highlight=False)
    console.print(f"log-ins: {', '.join(logins) or 'none'}", markup=False, highlight=False)


@app.command("revoke")
def revoke_approver(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, for the record.", prompt="Reason")],
) -> None:
    """End a person's right to decide, at once, gates that wait included. What they decided before stays."""
    enrolment.revoke(open_world(), name, reason=reason)
    console.print(f"{name} is revoked. No code of theirs counts any more.", markup=False)


@app.command("rotate")
def rotate_seed(
    name: Name,
    code: Annotated[
        str, typer.Option(help="Six digits from the authenticator as it is now.", prompt="Code", hide_input=True)
    ],
    no_qr: NoQr = False,
) -> None:
    """Replace a person's seed by a new one: for a new phone while the old one still works."""
    _refuse_no_terminal(no_qr)
    _show_seed(enrolment.rotate(open_world(), name, code=code), name, no_qr=no_qr)


@app.command("recover")
def recover_approver(
    name: Name,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="Who confirms it: two enrolled people, one an administrator.")
    ] = None,
    code: Annotated[
        list[str] | None, typer.Option("--code", help="Their codes, in the same order; else asked.")
    ] = None,
    no_qr: NoQr = False,
) -> None:
    """Give a person who lost their device a new seed; two others confirm it with their one-time codes.

    Neither is the person; one is an administrator wherever the person has a role. The old seed ends at once.
    """
    _refuse_no_terminal(no_qr)
    world = open_world()
    find(world, name)
    confirmers = list(by or [])
    while len(confirmers) < CONFIRMERS:
        confirmers.append(typer.prompt(f"Person {len(confirmers) + 1} of {CONFIRMERS} who confirms"))
    codes = list(code or [])
    if len(codes) > len(confirmers):
        raise typer.BadParameter("There are more codes than people. Give one --code for each --by.")
    for confirmer in confirmers[len(codes) :]:
        codes.append(typer.prompt(f"Code of {confirmer}", hide_input=True))
    uri = enrolment.recover(world, name, confirmed=list(zip(confirmers, codes, strict=True)))
    _show_seed(uri, name, no_qr=no_qr)


def _refuse_no_terminal(no_qr: bool) -> None:
    """Raises: ConfigError before anything is changed: a QR code holds the seed, and a pipe may end in a log."""
    if not no_qr and not sys.stdout.isatty():
        raise ConfigError(
            "This is no terminal, and the QR code holds the seed. Run it on a terminal, or add --no-qr to print the "
            "provisioning URI where you send the output."
        )


def _show_seed(uri: str, name: str, *, no_qr: bool) -> None:
    """Show the seed once: as a QR code on a terminal, or as the URI alone."""
    if no_qr:
        print(uri)
        return
    picture = qrcode.QRCode(border=1)
    picture.add_data(uri)
    picture.print_ascii(tty=False, invert=True)
    print(f"Scan this with the authenticator of {name}. It is shown once; here it is kept sealed.")
