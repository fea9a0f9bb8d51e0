"""`slipway app`: which applications Slipway delivers, and where their forges have to call."""

import getpass
import json
import re
import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from blocks.installation import read_installation
from blocks.world import World, open_world
from deployments.rotation.webhook import rotate_webhook_secret
from domain.application import FILE, Name, parse_application
from domain.errors import ConfigError
from domain.ledger import Event
from domain.ports import Application, ForgeAccess
from domain.release import short

app = typer.Typer(help="Applications: register one from any Git URL, see where its forge has to call.")
app.command("rotate-secret")(rotate_webhook_secret)
console = Console()

FORGES = ("gitea", "github")
_REPOSITORY = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}", re.ASCII)
_BRANCH = re.compile(r"(?!-)[\w./+-]{1,200}")


@dataclass(frozen=True, slots=True)
class Registered:
    """What registering came to: the secret (new or the one there was), and what the branch holds now."""

    application: Application
    secret: str
    is_new: bool
    head: str
    remark: str


@app.command("add")
def add_application(
    name: Annotated[str, typer.Argument(help="Its name, as in its slipway.toml: small letters, digits, dashes.")],
    url: Annotated[str, typer.Option(help="Git URL to fetch from: https://, ssh://, git@host:…, file:// or a path.")],
    repository: Annotated[str, typer.Option(help="OWNER/NAME, as the forge calls it.")],
    forge: Annotated[str, typer.Option(help="Whose webhooks: gitea (Forgejo too) or github.")],
    branch: Annotated[str, typer.Option(help="The branch whose pushes are built.")] = "main",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Register an application, or change what is registered: the one step before its first push.

    Fetches the repository to prove the URL, makes a database for each environment, and prints the webhook's address
    and secret. Enter both at the forge: content type `application/json`, events: pushes.

    Example: `slipway app add shop --forge gitea --repository team/shop --url https://git.example.org/team/shop.git`
    """
    world = open_world()
    done = register_application(world, Application(name, forge, repository, url, branch))
    if as_json:
        facts = {"name": name, "webhook_url": webhook_url(done.application), "secret": done.secret, "head": done.head}
        print(json.dumps({**facts, "remark": done.remark}, indent=2))
        return
    console.print(f"[bold]{name}[/bold] is {'registered' if done.is_new else 'changed; its secret stays'}.")
    console.print(f"  Webhook   {webhook_url(done.application)}", soft_wrap=True, highlight=False)
    if done.is_new:
        console.print(f"  Secret    {done.secret}", soft_wrap=True, highlight=False, markup=False)
    if done.head:
        console.print(f"  {branch} is at {short(done.head)}; the next push starts ci.", highlight=False)
    if done.remark:
        console.print(f"[yellow]{done.remark}[/yellow]", soft_wrap=True, highlight=False)


@app.command("list")
def list_applications() -> None:
    """List the registered applications."""
    table = Table("name", "forge", "repository", "branch", "url", box=None, pad_edge=False)
    for one in open_world().applications.list():
        table.add_row(one.name, one.forge, one.repository, one.branch, one.url)
    console.print(table)


@app.command("show")
def show_application(name: Annotated[str, typer.Argument(help="A registered application.")]) -> None:
    """Show one application: where its forge calls, and what came of its last deliveries."""
    world = open_world()
    one = world.applications.get(name)
    facts = {"forge": one.forge, "repository": one.repository, "branch": one.branch, "url": one.url}
    for word, value in {**facts, "webhook": webhook_url(one)}.items():
        console.print(f"{word:<12}{value}", soft_wrap=True, highlight=False, markup=False)
    table = Table("when (UTC)", "delivery", "", box=None, pad_edge=False)
    kinds = [
        *(f"delivery.{word}" for word in ("started", "ignored", "replayed", "refused")),
        "ci.failed",
        "release.pinned",
    ]
    for entry in world.ledger.entries(kinds=kinds, application=name, newest_first=True, limit=10):
        data = entry.data
        said = data.get("reason") or data.get("cause") or short(str(data.get("commit", "")))
        table.add_row(f"{entry.at:%m-%d %H:%M:%S}", entry.kind, str(said)[:200])
    console.print(table)


@app.command("secret")
def show_secret(
    name: Annotated[str, typer.Argument(help="A registered application.")],
    new: Annotated[bool, typer.Option("--new", help="Make a new one; the forge needs it at once.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Print it even if this is no terminal.")] = False,
) -> None:
    """Print the webhook secret of an application, on your terminal only; or replace it."""
    world = open_world()
    application = world.applications.get(name)
    if not (console.is_terminal or force):
        raise typer.BadParameter(
            "The secret is printed on a terminal only, to end up in no log. Add --force to mean it."
        )
    if new:
        world.applications.add(application, webhook_secret=secrets.token_hex(32))
        _record(world, "application.secret_replaced", application)
    print(world.applications.webhook_secret(name))


@app.command("forge-token")
def keep_forge_token(
    name: Annotated[str, typer.Argument(help="A registered application.")],
    url: Annotated[str, typer.Option(help="The forge's API; else github.com's, or /api/v1 beside the Git URL.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Forget the token.")] = False,
) -> None:
    """Give Slipway a token of the application's forge: for commit statuses, and to say whether commits were reviewed.

    It takes the right to read the repository and its pull requests, and to write commit statuses. The token is asked
    for, or read from a pipe; it rests sealed. Without one the form says "unknown", and no status is sent.
    """
    world = open_world()
    application = world.applications.get(name)
    if remove:
        world.applications.set_forge_access(name, None)
        _record(world, "application.forge_token_removed", application)
        console.print(f"The forge's token of {name} is forgotten.")
        return
    address = url or api_url(application)
    if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", address):
        raise typer.BadParameter("--url is no address of an API. Write https://HOST/PATH, without a user in it.")
    token = (typer.prompt("Token", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()).strip()
    if not re.fullmatch(r"[\x21-\x7e]{1,500}", token):
        raise typer.BadParameter("A token has 1 to 500 visible characters, without spaces.")
    world.applications.set_forge_access(name, ForgeAccess(address.rstrip("/"), token))
    _record(world, "application.forge_token_set", application, api=address)
    console.print(f"The forge of {name} is asked at {address}.", soft_wrap=True, highlight=False)


def api_url(application: Application) -> str:
    """Where an application's forge has its API. Raises: ConfigError where its Git URL does not tell."""
    if application.forge == "github":
        return "https://api.github.com"
    scheme, found, rest = application.url.partition("://")
    if not found or scheme not in ("https", "http"):
        raise ConfigError(f"The Git URL of {application.name} does not name its forge's API. Give it with --url.")
    return f"{scheme}://{rest.split('/')[0]}/api/v1"


def register_application(world: World, application: Application) -> Registered:
    """Register or change an application once its repository was fetched; safe to run again.

    Effect: a mirror, a database for each environment, the register, one ledger entry where something changed.
    Raises: ConfigError naming what is wrong; TransientError where the URL can't be fetched: then nothing is registered.
    """
    _check(application)
    world.sources.fetch(application.name, application.url)
    head, remark = _look_at_head(world, application)
    known = next((one for one in world.applications.list() if one.name == application.name), None)
    secret = world.applications.webhook_secret(application.name) if known else secrets.token_hex(32)
    for environment in world.environments():
        world.databases.ensure(application.name, environment.name)
    if known != application:
        world.applications.add(application, webhook_secret=secret)
        _record(world, "application.changed" if known else "application.registered", application)
    return Registered(application, secret, is_new=known is None, head=head, remark=remark)


def webhook_url(application: Application) -> str:
    """The address that the forge has to call; a proxy in front of the door has its own."""
    port = read_installation().ports["door"]
    return f"http://127.0.0.1:{port}/webhooks/{application.forge}/{application.repository}"


def _check(application: Application) -> None:
    try:
        TypeAdapter[str](Name).validate_python(application.name)
    except ValidationError as exc:
        raise ConfigError(
            f"'{application.name}' is no name. Use up to 31 small letters, digits and dashes, a letter first."
        ) from exc
    if application.forge not in FORGES:
        raise ConfigError(f"No forge named '{application.forge}'. Use one of: {', '.join(FORGES)}.")
    if not _REPOSITORY.fullmatch(application.repository):
        raise ConfigError(f"'{application.repository}' is no repository. Use OWNER/NAME, as the forge calls it.")
    if not _BRANCH.fullmatch(application.branch):
        raise ConfigError(f"'{application.branch}' is no branch.")


def _look_at_head(world: World, application: Application) -> tuple[str, str]:
    """Look at what the branch holds: its commit, and a remark where `ci` would not like it."""
    try:
        head = world.sources.head(application.name, application.branch)
    except ConfigError as exc:
        return "", f"{exc} The first push to '{application.branch}' starts ci."
    with tempfile.TemporaryDirectory(prefix="slipway-look-") as folder:
        try:
            world.sources.checkout(application.name, head, Path(folder) / "source")
            file = parse_application((Path(folder) / "source" / FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, UnicodeDecodeError):
            return head, f"The branch has no readable {FILE} yet; ci needs one (docs/reference/slipway-toml.md)."
        except ConfigError as exc:
            return head, str(exc)
    if file.application.name != application.name:
        return head, f"{FILE} calls the application '{file.application.name}'; ci will ask for '{application.name}'."
    return head, ""


def _record(world: World, kind: str, application: Application, **more: str) -> None:
    facts = {"forge": application.forge, "repository": application.repository, "branch": application.branch}
    world.ledger.append(
        Event(
            kind, application=application.name, actor=getpass.getuser(), data={**facts, "url": application.url, **more}
        )
    )
