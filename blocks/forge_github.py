"""GitHub's webhooks: `X-Hub-Signature-256` is `sha256=` and the hexadecimal HMAC-SHA-256 of the raw body."""

from collections.abc import Mapping

from blocks.forge_payload import is_same_signature, read_delivery_id, read_event, signature_of
from domain.delivery import Ignored, Push

DELIVERY = "x-github-delivery"
EVENT = "x-github-event"
SIGNATURE = "x-hub-signature-256"


class GitHubForge:
    """Fulfils `domain.ports.Forge`."""

    def is_genuine(self, *, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        return is_same_signature(headers.get(SIGNATURE, ""), f"sha256={signature_of(body, secret)}")

    def delivery_id(self, headers: Mapping[str, str]) -> str:
        return read_delivery_id(headers, DELIVERY)

    def read_push(self, *, headers: Mapping[str, str], body: bytes) -> Push | Ignored:
        return read_event(
            headers=headers, body=body, event=headers.get(EVENT, ""), delivery_id=self.delivery_id(headers)
        )
