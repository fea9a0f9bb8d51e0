"""The inbox in memory: the twin of `blocks/inbox_postgres.py`."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from domain.ports import Delivery


class MemoryInbox:
    """Fulfils `domain.ports.Inbox` for tests; `deliveries` shows all that was stored."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def store(self, *, forge: str, repository: str, delivery_id: str, headers: Mapping[str, str], body: bytes) -> bool:
        if self.find(forge=forge, repository=repository, delivery_id=delivery_id) is not None:
            return False
        self.deliveries.append(
            Delivery(
                id=len(self.deliveries) + 1,
                forge=forge,
                repository=repository,
                delivery_id=delivery_id,
                headers=dict(headers),
                body=body,
                received_at=datetime.now(UTC),
            )
        )
        return True

    def find(self, *, forge: str, repository: str, delivery_id: str) -> Delivery | None:
        identity = (forge, repository, delivery_id)
        found = [one for one in self.deliveries if (one.forge, one.repository, one.delivery_id) == identity]
        return found[0] if found else None

    def waiting(self, *, limit: int = 50) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.status == "waiting"][:limit]

    def settle(self, id: int, *, status: str, note: str = "") -> None:
        self.deliveries[id - 1] = replace(self.deliveries[id - 1], status=status, note=note)
