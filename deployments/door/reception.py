"""What the door does with one delivery: authenticate, keep, look at it. No HTTP here, and nothing is started.

The order is the promise: nothing of a body is parsed before its signature was verified, and nothing is answered with
yes before the delivery is durable in PostgreSQL.
"""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from blocks.world import World
from domain.delivery import delivery_key
from domain.errors import ConfigError
from domain.ledger import Event
from domain.ports import Forge

_REPOSITORY = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}", re.ASCII)
_SECRET_KEPT_S = 5.0
_KEPT_HEADERS = ("content-type", "user-agent")
_KEPT_PREFIXES = ("x-gitea-", "x-github-", "x-hub-", "x-forgejo-")
_HEADER_LENGTH_MAX = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """What the forge is told: an HTTP status, one word, and a reason where there is one."""

    status: int
    word: str
    reason: str = ""


class Reception:
    """Receives deliveries, each in a thread of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[tuple[str, str], tuple[float, tuple[str, ...]]] = {}

    def receive(self, *, forge: str, repository: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Authenticate and keep one delivery. Header names are lower-case.

        Raises: TransientError while PostgreSQL is away; then nothing was promised.
        """
        if not _REPOSITORY.fullmatch(repository):
            return Answer(404, "unknown", "The address ends in owner/repository.")
        try:
            forged = self._find_flaw(forge, repository, headers, body)
        except ConfigError as exc:
            return Answer(404, "unknown", str(exc))
        if forged is not None:
            return forged
        port = self._world.forge(forge)
        try:
            delivery_id = port.delivery_id(headers)
        except ConfigError as exc:
            return Answer(400, "refused", str(exc))
        identity = {"forge": forge, "repository": repository.lower(), "delivery_id": delivery_id}
        is_new = self._world.inbox.store(**identity, headers=_worth_keeping(headers), body=body)
        if not is_new and self._is_other_body(identity, body):
            return Answer(
                409, "refused", f"Delivery {delivery_id} came before with another body. This one is not kept."
            )
        try:
            port.read_push(headers=headers, body=body)
        except ConfigError as exc:
            return Answer(400, "refused", str(exc))
        return Answer(202, "stored" if is_new else "known")

    def _is_other_body(self, identity: dict[str, str], body: bytes) -> bool:
        """Whether another body is kept under this id; then it is written down, once for each body."""
        kept = self._world.inbox.find(**identity)
        if kept is None or kept.body == body:
            return False
        application = self._world.applications.find(forge=identity["forge"], repository=identity["repository"])
        sha256 = hashlib.sha256(body).hexdigest()
        self._world.ledger.append(
            Event(
                "delivery.refused",
                application=application.name if application else "",
                actor=identity["forge"],
                key=f"delivery.refused:{delivery_key(**identity)}:{sha256}",
                data={**identity, "reason": "another body came under a delivery id that is known", "sha256": sha256},
            )
        )
        return True

    def _find_flaw(self, forge: str, repository: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """Say what is wrong with repository or signature; None where the delivery is genuine.

        Raises: ConfigError for a forge that we don't speak.
        """
        port = self._world.forge(forge)
        kept = self._known.get((forge, repository.lower()))
        is_fresh = kept is not None and kept[0] > time.monotonic()
        if kept is not None and is_fresh and _is_genuine(port, headers, body, kept[1]):
            return None
        # not known, or the secret may have been changed since
        found = self._look_up(forge, repository)
        # an unknown repository takes as long as a wrong signature
        genuine = _is_genuine(port, headers, body, found or ("",))
        if found is None:
            return Answer(404, "unknown", f"No application is registered for {forge} repository {repository}.")
        return None if genuine else Answer(401, "forged", "The signature does not match the body.")

    def _look_up(self, forge: str, repository: str) -> tuple[str, ...] | None:
        application = self._world.applications.find(forge=forge, repository=repository)
        if application is None:
            self._known.pop((forge, repository.lower()), None)
            return None
        secrets = self._world.applications.webhook_secrets(application.name, now=self._world.clock.now())
        self._known[forge, repository.lower()] = (time.monotonic() + _SECRET_KEPT_S, secrets)
        return secrets


def _is_genuine(port: Forge, headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...]) -> bool:
    """Whether one of the secrets signed the body; while one is being replaced, there are two."""
    return any([port.is_genuine(headers=headers, body=body, secret=secret) for secret in secrets])


def _worth_keeping(headers: Mapping[str, str]) -> dict[str, str]:
    """Keep what tells the event and proves it; never cookies or credentials of a proxy in between."""
    return {
        name: value[:_HEADER_LENGTH_MAX]
        for name, value in headers.items()
        if name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIXES)
    }
