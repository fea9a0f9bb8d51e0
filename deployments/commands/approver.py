"""`slipway approver`: who may decide."""

from typing import Annotated

import qrcode
import typer
from rich.console import Console
from rich.table import Table

from blocks.world import open_world
from domain.ports import Approver

app = typer.Typer(help="Who may approve releases, roll back and unblock; each proves it with a one-time code.")
console = Console()

ROLES = ("approver", "administrator")


@app.command("add")
def add_approver(
    name: Annotated[str, typer.Argument(help="The name that the person types into the approval form.")],
    role: Annotated[list[str] | None, typer.Option(help="approver, administrator; may be given twice.")] = None,
    login: Annotated[
        list[str] | None,
        typer.Option(help="A forge log-in or e-mail address of the same person: nobody approves what they pushed."),
    ] = None,
) -> None:
    """Enrol a person and show, once, the QR code for their authenticator (TOTP, RFC 6238)."""
    roles = tuple(role or ["approver"])
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise typer.BadParameter(f"No role named {', '.join(unknown)}. Use: {', '.join(ROLES)}.")
    uri = open_world().approvers.enrol(Approver(name=name, roles=roles, logins=tuple(login or ())))
    picture = qrcode.QRCode(border=1)
    picture.add_data(uri)
    picture.print_ascii(invert=True)
    console.print(f"Scan this with the authenticator of [bold]{name}[/bold]. It is shown once and kept sealed.")
    console.print(f"Without a camera: {uri}", soft_wrap=True, markup=False)


@app.command("list")
def list_approvers() -> None:
    """List who may decide."""
    table = Table("name", "roles", "log-ins")
    for approver in open_world().approvers.list():
        table.add_row(approver.name, ", ".join(approver.roles), ", ".join(approver.logins))
    console.print(table)


@app.command("revoke")
def revoke_approver(name: Annotated[str, typer.Argument(help="The enrolled name.")]) -> None:
    """End a person's right to decide. What they decided before stays in the ledger."""
    approvers = open_world().approvers
    if approvers.get(name) is None:
        names = ", ".join(approver.name for approver in approvers.list()) or "nobody yet"
        raise typer.BadParameter(f"Nobody named '{name}' is enrolled. Enrolled: {names}.")
    approvers.revoke(name)
    console.print(f"{name} is revoked.")
