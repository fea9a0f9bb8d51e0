"""`slipway app`: one command registers an application, and says what its forge needs."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from fixtures_ci import Repository
from typer.testing import CliRunner

from blocks.installation import Installation, Users, read_installation
from blocks.memory_world import MemoryWorld
from blocks.sources_git import GitSources
from blocks.world import use_world
from deployments.commands.app import app, register_application
from domain.errors import ConfigError, TransientError
from domain.ports import Application

FILE = '[application]\nname = "shop"\n[[check]]\nname = "unit"\ncommand = ["true"]\n[service]\ncommand = ["x"]\n'


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[MemoryWorld]:
    monkeypatch.setenv("SLIPWAY_STATE", str(tmp_path))
    Installation(
        state=tmp_path, sockets=tmp_path, ports={"door": 4201}, users=Users(), python=tmp_path, postgres_bin=tmp_path
    ).save()
    read_installation.cache_clear()
    world = MemoryWorld(sources=GitSources())  # pyright: ignore[reportArgumentType]
    use_world(lambda: world)
    yield world
    use_world(None)
    read_installation.cache_clear()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository", {"slipway.toml": FILE})


def add(repository: Repository, *more: str) -> dict[str, str]:
    words = ["add", "shop", "--forge", "gitea", "--repository", "team/shop", "--url", repository.url, "--json", *more]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_one_command_registers_and_prints_address_and_secret(world: MemoryWorld, repository: Repository):
    told = add(repository)
    assert told["webhook_url"] == "http://127.0.0.1:4201/webhooks/gitea/team/shop"
    assert told["secret"] == world.applications.webhook_secret("shop") and len(told["secret"]) == 64
    assert told["head"] == repository.git("rev-parse", "HEAD") and told["remark"] == ""
    for environment in world.environments():
        assert world.databases.url("shop", environment.name)
    (entry,) = world.ledger.entries()
    assert entry.kind == "application.registered" and told["secret"] not in json.dumps(entry.data)


def test_registering_again_changes_nothing_and_keeps_the_secret(world: MemoryWorld, repository: Repository):
    assert add(repository)["secret"] == add(repository)["secret"]
    assert len(world.ledger.entries()) == 1
    add(repository, "--branch", "trunk")
    assert world.applications.get("shop").branch == "trunk"
    assert world.ledger.entries()[-1].kind == "application.changed"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"slipway.toml": FILE.replace('"shop"', '"other"')}, "'other'"),
        ({"slipway.toml": FILE + "[nonsense]\n"}, "nonsense"),
        ({"slipway.toml": b"\xff"}, "no readable"),
    ],
)
def test_what_ci_would_not_like_is_said_at_once(
    world: MemoryWorld, repository: Repository, files: dict[str, str | bytes], words: str
):
    repository.commit(files)
    assert words in add(repository)["remark"]


def test_an_empty_repository_may_be_registered_before_its_first_push(world: MemoryWorld, tmp_path: Path):
    empty = Repository(tmp_path / "empty")
    empty.path.mkdir()
    empty.git("init", "--quiet", "--bare")
    told = add(empty)
    assert told["head"] == "" and "first push" in told["remark"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Shop"}, "small letters"),
        ({"name": "a_b"}, "small letters"),
        ({"forge": "svn"}, "gitea, github"),
        ({"repository": "shop"}, "OWNER/NAME"),
        ({"branch": "-x"}, "branch"),
        ({"url": "https://u:p@h/x.git"}, "password"),
    ],
)
def test_a_wrong_argument_registers_nothing(
    world: MemoryWorld, repository: Repository, changes: dict[str, str], words: str
):
    facts = {"name": "shop", "forge": "gitea", "repository": "team/shop", "url": repository.url}
    with pytest.raises(ConfigError, match=words):
        register_application(world, Application(**{**facts, **changes}))
    assert not world.applications.list() and not world.ledger.entries()


def test_a_url_that_cannot_be_fetched_registers_nothing(world: MemoryWorld, tmp_path: Path):
    with pytest.raises(TransientError, match="could not fetch"):
        register_application(world, Application("shop", "gitea", "team/shop", str(tmp_path / "nowhere.git")))
    assert not world.applications.list()


def test_a_secret_is_printed_on_a_terminal_only_and_can_be_replaced(world: MemoryWorld, repository: Repository):
    first = add(repository)["secret"]
    refused = CliRunner().invoke(app, ["secret", "shop"])
    assert refused.exit_code != 0 and first not in refused.output
    shown = CliRunner().invoke(app, ["secret", "shop", "--force"])
    assert shown.stdout.strip() == first
    replaced = CliRunner().invoke(app, ["secret", "shop", "--new", "--force"]).stdout.strip()
    assert replaced != first and world.applications.webhook_secret("shop") == replaced


def test_list_and_show_name_the_application(world: MemoryWorld, repository: Repository):
    add(repository)
    for words in (["list"], ["show", "shop"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0 and "team/shop" in done.stdout, done.output
