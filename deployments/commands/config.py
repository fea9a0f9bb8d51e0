"""`slipway config`: what an application is told in an environment, in versions; and making a version live."""

import getpass
import sys
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from blocks.world import World, open_world
from domain.errors import ConfigError
from domain.ledger import Event
from domain.release import short
from domain.revision import name_revision, release_of, settings_of
from domain.rollout import (
    BLOCKING_KINDS,
    SETTLING_KINDS,
    blocked_settings,
    explain_blocked_settings,
    live_release,
)
from domain.settings import SettingsVersion

app = typer.Typer(help="Configuration of an application in one environment; a change takes effect with a rollout.")
console = Console(width=None if sys.stdout.isatty() else 240)

ApplicationName = Annotated[str, typer.Argument(help="The registered application.")]
EnvironmentName = Annotated[str, typer.Argument(help="test, staging, production, ...")]
Apply = Annotated[bool, typer.Option("--apply", help="Start `cd` with the live release, so that it takes effect.")]


@app.command("set")
def set_config(
    application: ApplicationName,
    environment: EnvironmentName,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Values; not for secrets.")],
    apply: Apply = False,
) -> None:
    """Set values. They make a new version, which takes effect with the next rollout to that environment."""
    world = open_world()
    check_place(world, application, environment)
    values = dict(_split(setting) for setting in settings)
    before = world.settings.latest(application, environment)
    after = world.settings.change(application, environment, actor=getpass.getuser(), config=values)
    tell_change(world, before, after, apply=apply)


@app.command("unset")
def unset_config(
    application: ApplicationName,
    environment: EnvironmentName,
    names: Annotated[list[str], typer.Argument(metavar="KEY...")],
    apply: Apply = False,
) -> None:
    """Take values or secrets away. That makes a new version as well."""
    world = open_world()
    check_place(world, application, environment)
    before = world.settings.latest(application, environment)
    after = world.settings.change(application, environment, actor=getpass.getuser(), unset=frozenset(names))
    tell_change(world, before, after, apply=apply)


@app.command("list")
def list_config(
    application: ApplicationName,
    environment: EnvironmentName,
    version: Annotated[int | None, typer.Option(help="A version; else the newest.")] = None,
) -> None:
    """List what is set, and which version is live."""
    world = open_world()
    check_place(world, application, environment)
    newest = world.settings.latest(application, environment)
    shown = newest if version is None else world.settings.get(application, environment, version)
    table = Table("name", "value")
    for name, value in sorted(shown.config.items()):
        table.add_row(name, value)
    for reference in shown.references:
        table.add_row(reference.partition("@")[0], f"(secret, version {reference.partition('@')[2]})")
    live = settings_of(_live(world, application, environment))
    console.print(f"{application} in {environment}: settings {shown.version}; newest {newest.version}, live {live}")
    console.print(table)


@app.command("history")
def show_history(application: ApplicationName, environment: EnvironmentName) -> None:
    """List every version: who made it, when, and which names it changed. Secrets by name and version only."""
    world = open_world()
    check_place(world, application, environment)
    versions = world.settings.history(application, environment)
    table = Table("version", "when (UTC)", "by", "set", "secrets", "taken away")
    for index, after in enumerate(versions):
        before = versions[index + 1] if index + 1 < len(versions) else SettingsVersion(application, environment)
        facts = _differences(before, after)
        when = f"{after.at:%Y-%m-%d %H:%M:%S}" if after.at else ""
        table.add_row(str(after.version), when, after.actor, *(", ".join(facts[key]) for key in facts))
    console.print(table)


@app.command("apply")
def apply_config(application: ApplicationName, environment: EnvironmentName) -> None:
    """Bring the newest settings to life: `cd` with the release that is live there, through approval and canary."""
    world = open_world()
    check_place(world, application, environment)
    start_delivery(world, application, environment)


def start_delivery(world: World, application: str, environment: str) -> None:
    """Start `cd` with the release that an environment is on.

    Raises: ConfigError where it is on none yet, or where these settings failed there before.
    """
    live = _live(world, application, environment)
    if not live:
        raise ConfigError(
            f"Nothing of {application} is live in {environment} yet. Its first release takes the settings."
        )
    entries = world.ledger.entries(kinds=BLOCKING_KINDS, application=application)
    blocked = blocked_settings(entries, environment=environment)
    newest = world.settings.latest(application, environment).version
    refusal = explain_blocked_settings(newest, blocked, application=application, environment=environment)
    if refusal:
        raise ConfigError(refusal)
    if live == name_revision(live, newest):
        console.print(f"{application} in {environment} is on settings {newest} already.")
        return
    release = release_of(live)
    parameters = {"application": application, "release": release, "requester": getpass.getuser()}
    key = f"settings:{application}:{environment}:{newest}:{uuid4()}"
    url = world.run_records.url(world.flow_runs.start("cd/cd", parameters=parameters, idempotency_key=key))
    console.print(f"Settings {newest} go to {environment} with release {short(release)}: {url}", soft_wrap=True)


def _live(world: World, application: str, environment: str) -> str:
    settled = world.ledger.entries(kinds=SETTLING_KINDS, application=application, environment=environment)
    return live_release(settled)


def check_place(world: World, application: str, environment: str) -> None:
    """Raises: ConfigError that lists the names known."""
    world.applications.get(application)
    world.environment(environment)


def tell_change(world: World, before: SettingsVersion, after: SettingsVersion, *, apply: bool) -> None:
    """Write a change down, by names and versions, and say what comes next."""
    if after.version == before.version:
        console.print(f"Nothing changed: settings {after.version} say so already.")
    else:
        world.ledger.append(
            Event(
                "settings.changed",
                application=after.application,
                environment=after.environment,
                actor=after.actor,
                key=f"settings:{after.application}:{after.environment}:{after.version}",
                data={"settings": after.version, **_differences(before, after)},
            )
        )
        console.print(f"{after.application} in {after.environment}: settings {after.version}.")
    if apply:
        start_delivery(world, after.application, after.environment)
    else:
        place = f"{after.application} {after.environment}"
        console.print(f"They take effect with the next rollout; or now: `slipway config apply {place}`.")


def _differences(before: SettingsVersion, after: SettingsVersion) -> dict[str, list[str]]:
    """Name what changed between two versions; no value is in it."""
    return {
        "set": sorted(name for name, value in after.config.items() if before.config.get(name) != value),
        "secrets": sorted(set(after.references) - set(before.references)),
        "unset": sorted(before.names - after.names),
    }


def _split(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals:
        raise ConfigError(f"'{setting[:40]}' is no KEY=VALUE. Write the name, an equals sign, and the value.")
    return name, value
