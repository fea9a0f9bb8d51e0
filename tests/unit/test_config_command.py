"""`slipway config` and `slipway secret`: what operators type, what is written down, and what never shows."""

from collections.abc import Generator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blocks.memory_world import MemoryWorld
from blocks.world import use_world
from deployments.commands import config, secret
from domain.errors import ConfigError
from domain.ledger import Event
from domain.ports import Application

SECRET = "correct horse battery staple"
DIGEST = "a" * 64


@pytest.fixture
def world() -> Generator[MemoryWorld]:
    world = MemoryWorld()
    world.applications.add(Application("desk", "gitea", "team/desk", "file:///x"), webhook_secret="s")
    use_world(lambda: world)
    yield world
    use_world(None)


def run(module: object, *words: str, given: str | bytes | None = None) -> str:
    result = CliRunner().invoke(module.app, words, input=given)  # type: ignore[attr-defined]
    if isinstance(result.exception, ConfigError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_values_are_set_listed_and_told_in_the_history(world: MemoryWorld):
    assert "settings 1" in run(config, "set", "desk", "test", "TITLE=My desk", "EQUATION=a=b")
    assert world.settings.values("desk", "test", 1) == {"TITLE": "My desk", "EQUATION": "a=b"}
    listed = run(config, "list", "desk", "test")
    assert "My desk" in listed and "newest 1, live 0" in listed
    run(config, "unset", "desk", "test", "TITLE")
    history = run(config, "history", "desk", "test")
    assert "TITLE" in history and "My desk" not in history


def test_a_secret_comes_through_a_pipe_or_a_file_and_shows_nowhere(world: MemoryWorld, tmp_path: Path):
    told = run(secret, "set", "desk", "production", "KEY", given=f"{SECRET}\n")
    file = tmp_path / "key.pem"
    file.write_text("line\nline\n")
    told += run(secret, "set", "desk", "production", "PEM", "--file", str(file))
    assert world.settings.values("desk", "production", 2) == {"KEY": SECRET, "PEM": "line\nline\n"}
    told += run(config, "list", "desk", "production") + run(secret, "list", "desk", "production")
    told += run(secret, "history", "desk", "production", "KEY") + run(config, "history", "desk", "production")
    assert SECRET not in told
    entries = world.ledger.entries(kinds=["settings.changed"])
    assert [entry.data["secrets"] for entry in entries] == [["KEY@1"], ["PEM@1"]]
    assert SECRET not in str(entries)


def test_a_secret_among_the_arguments_is_refused_without_being_repeated(world: MemoryWorld):
    with pytest.raises(ConfigError) as refused:
        run(secret, "set", "desk", "production", f"KEY={SECRET}", given="")
    assert SECRET not in str(refused.value)
    with pytest.raises(ConfigError, match="No value for 'KEY'"):
        run(secret, "set", "desk", "production", "KEY", given="\n")


def test_unknown_names_and_reserved_ones_are_refused(world: MemoryWorld):
    with pytest.raises(ConfigError, match="No application named 'shop'"):
        run(config, "set", "shop", "test", "A=b")
    with pytest.raises(ConfigError, match="No environment named 'prod'"):
        run(config, "set", "desk", "prod", "A=b")
    with pytest.raises(ConfigError, match="'PATH' is reserved"):
        run(config, "set", "desk", "test", "PATH=/evil")
    assert world.ledger.entries() == []


def test_applying_starts_cd_with_the_live_release(world: MemoryWorld):
    with pytest.raises(ConfigError, match="Nothing of desk is live in production yet"):
        run(config, "set", "desk", "production", "TITLE=x", "--apply")
    world.ledger.append(Event("rollout.completed", application="desk", environment="production", release=DIGEST))
    run(config, "apply", "desk", "production")
    (started,) = world.flow_runs.runs.values()
    assert started.deployment == "cd/cd"
    assert (started.parameters["application"], started.parameters["release"]) == ("desk", DIGEST)


def test_what_is_live_already_and_what_failed_before_is_not_applied(world: MemoryWorld):
    run(config, "set", "desk", "production", "TITLE=x")
    live = Event(
        "rollout.completed", application="desk", environment="production", release=DIGEST, data={"settings": 1}
    )
    world.ledger.append(live)
    assert "on settings 1 already" in run(config, "apply", "desk", "production")
    run(config, "set", "desk", "production", "TITLE=bad")
    blocked = {"settings": 2, "reason": "too many errors"}
    world.ledger.append(
        Event("digest.blocked", application="desk", environment="production", release=DIGEST, data=blocked)
    )
    with pytest.raises(ConfigError, match=r"Settings 2 of production are blocked: .+too many errors"):
        run(config, "apply", "desk", "production")
