"""Blocks as this machine accepts them: what Prefect holds is shown to people, and counts only where it was accepted.

A block says where releases run, which load balancer is turned, where bytes are stored. Whoever has Prefect's password
can edit it. So `slipway up` keeps each document that it makes in `<state>/workers/accepted-blocks.json`, and one that
differs is refused until an operator of this machine accepts it (`slipway block accept`). The accepted copy is used.
"""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from blocks.installation import WORKERS_FOLDER, write_private
from domain.errors import ConfigError, RefusedError

FILE = f"{WORKERS_FOLDER}/accepted-blocks.json"

Data = Mapping[str, Any]


def read_accepted(state: Path) -> dict[str, Data]:
    """Read the accepted documents by `type-slug/name`; none before the first `slipway up`."""
    path = state / FILE
    return json.loads(path.read_text()) if path.exists() else {}


def accept_blocks(state: Path, documents: Mapping[str, Data]) -> None:
    """Accept documents, beside those that are. Effect: the file, whole or not at all. May be repeated."""
    known, classes = read_accepted(state), _classes()
    ours = {reference: data for reference, data in documents.items() if reference.partition("/")[0] in classes}
    merged = {**known, **{reference: _plain(data) for reference, data in ours.items()}}
    if merged != known or not (state / FILE).exists():
        (state / WORKERS_FOLDER).mkdir(mode=0o700, exist_ok=True)
        write_private(state / FILE, json.dumps(merged, indent=2, sort_keys=True))


def load_accepted(reference: str, *, state: Path) -> Block:
    """Make a block from its accepted document.

    While Prefect is away, or has lost the document, what was accepted still holds.
    Raises: RefusedError where Prefect's document differs; ConfigError where none was ever accepted.
    """
    accepted = read_accepted(state).get(reference)
    if accepted is None:
        raise ConfigError(
            f"No block '{reference}' is accepted on this machine. Run `slipway up`, which makes ours, or "
            f"`slipway block accept {reference}`."
        )
    found = read_document(reference)
    if found is not None and found != accepted:
        keys = ", ".join(sorted(key for key in {*found, *accepted} if found.get(key) != accepted.get(key)))
        raise RefusedError(
            f"Block '{reference}' was edited in Prefect ({keys[:200]}), and nobody of this machine has accepted that. "
            f"See it, and take it or not, with `slipway block accept {reference}`."
        )
    return _class_of(reference)(**accepted)


def read_document(reference: str) -> Data | None:
    """Read a document as Prefect holds it; None where it has none, or does not answer."""
    slug, _, name = reference.partition("/")
    try:
        with get_client(sync_client=True) as client:
            return _read(client, slug, name)
    except (httpx.HTTPError, RuntimeError):  # RuntimeError: no server is named
        return None


def read_documents(client: SyncPrefectClient) -> dict[str, Data]:
    """Read every document of our types."""
    classes = _classes()
    found: dict[str, Data] = {}
    for slug in classes:
        try:
            documents = client.read_block_documents_by_type(slug, include_secrets=True)
        except PrefectHTTPStatusError as exc:
            if exc.response.status_code != 404:
                raise
            continue  # the type is not registered yet
        found |= {f"{slug}/{document.name}": _plain(document.data) for document in documents}
    return found


def _read(client: SyncPrefectClient, slug: str, name: str) -> Data | None:
    try:
        return _plain(client.read_block_document_by_name(name=name, block_type_slug=slug, include_secrets=True).data)
    except ObjectNotFound:
        return None


def _class_of(reference: str) -> type[Block]:
    classes, slug = _classes(), reference.partition("/")[0]
    if slug not in classes:
        raise ConfigError(f"'{slug}' is no block type of ours. Use one of: {', '.join(sorted(classes))}.")
    return classes[slug]


def _classes() -> dict[str, type[Block]]:
    """Our block classes by the slug of their type; a document never chooses its class itself.

    Not those that only send messages: what they say is the team's, at once.
    """
    register: Any = importlib.import_module("blocks.register")
    classes = cast(list[type[Block]], [*register.SITE_BLOCKS, *register.SINGLE_BLOCKS])
    return {one.get_block_type_slug(): one for one in classes if not issubclass(one, NotificationBlock)}


def _plain(data: Data) -> Data:
    return json.loads(json.dumps(dict(data), default=str))
