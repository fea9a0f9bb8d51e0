"""Blocks on a real Prefect server: made and accepted, edited and refused, accepted again."""

import dataclasses
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client

from blocks.accepted import accept_blocks, load_accepted, read_accepted, read_document
from blocks.installation import Installation, Users
from blocks.target_local import LocalTarget
from deployments.commands.block import explain_changes
from deployments.stack.layout import plan_ports
from deployments.stack.parts import Kit
from deployments.stack.registration import _register_blocks
from deployments.stack.settings import read_settings
from domain.errors import ConfigError, RefusedError

NAME = "slipway-local-target/test-main"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    state = tmp_path_factory.mktemp("state")
    for name in ("environments", "prefect", "code"):
        (state / name).mkdir()
    site = {"name": "main", "target": NAME, "balancer": "x/y", "metrics": "x/y"}
    (state / "environments" / "test.yaml").write_text(f"name: test\nsites: [{site}]\n")
    installation = Installation(
        state=state,
        sockets=state / "s",
        ports=plan_ports(4200, ["test-main"]),
        users=Users(),
        python=Path(sys.executable),
        postgres_bin=Path("/usr/bin"),
    )
    return Kit(installation, read_settings({}), {}, {}, state / "code" / "c0de")


@pytest.fixture
def client() -> Generator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def _edit(client: SyncPrefectClient, **changed: Any) -> None:
    slug, _, name = NAME.partition("/")
    document = client.read_block_document_by_name(name=name, block_type_slug=slug)
    data = {**document.data, **changed}
    answer = client._client.patch(f"/block_documents/{document.id}", json={"data": data, "merge_existing_data": False})
    answer.raise_for_status()


def test_what_up_makes_is_accepted_and_again_changes_nothing(kit: Kit, client: SyncPrefectClient) -> None:
    assert _register_blocks(client, kit)
    accepted = read_accepted(kit.installation.state)
    assert NAME in accepted and "slipway-s3-object-store/main" in accepted
    assert accepted[NAME] == read_document(NAME), "what was sent is what the server gives back"
    assert _register_blocks(client, dataclasses.replace(kit, code=kit.code.with_name("newer")))
    assert read_accepted(kit.installation.state) == accepted
    assert isinstance(load_accepted(NAME, state=kit.installation.state), LocalTarget)


def test_an_edit_is_refused_until_it_is_accepted_and_up_does_not_accept_it(kit: Kit, client: SyncPrefectClient) -> None:
    state = kit.installation.state
    _edit(client, state="/tmp/evil")
    with pytest.raises(RefusedError, match=rf"edited in Prefect \(state\).*slipway block accept {NAME}"):
        load_accepted(NAME, state=state)
    _register_blocks(client, dataclasses.replace(kit, code=kit.code.with_name("newest")))
    with pytest.raises(RefusedError):
        load_accepted(NAME, state=state)
    found = read_document(NAME)
    assert found is not None
    assert explain_changes(read_accepted(state)[NAME], found) == ['state: "" → "/tmp/evil"']
    accept_blocks(state, {NAME: found})
    block = load_accepted(NAME, state=state)
    assert isinstance(block, LocalTarget) and block.state == "/tmp/evil"


def test_a_block_that_was_never_accepted_is_not_loaded_and_a_lost_one_is(kit: Kit, client: SyncPrefectClient) -> None:
    state = kit.installation.state
    with pytest.raises(ConfigError, match="is accepted on this machine"):
        load_accepted("slipway-local-target/of-a-stranger", state=state)
    slug, _, name = NAME.partition("/")
    client.delete_block_document(client.read_block_document_by_name(name=name, block_type_slug=slug).id)
    assert isinstance(load_accepted(NAME, state=state), LocalTarget)
