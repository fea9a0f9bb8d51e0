"""The inbox in PostgreSQL: `Inbox` on the table `desk.delivery`; a delivery is durable once `store` returns."""

import json
from collections.abc import Mapping
from typing import Any

from blocks.postgres_session import PostgresSession
from domain.ports import Delivery


class PostgresInbox:
    """Fulfils `domain.ports.Inbox`."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    def store(self, *, forge: str, repository: str, delivery_id: str, headers: Mapping[str, str], body: bytes) -> bool:
        stored = self._session.rows(
            "INSERT INTO desk.delivery (forge, repository, delivery_id, headers, body) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (forge, repository, delivery_id) DO NOTHING RETURNING id",
            (forge, repository, delivery_id, json.dumps(dict(headers)), body),
        )
        return bool(stored)

    def find(self, *, forge: str, repository: str, delivery_id: str) -> Delivery | None:
        rows = self._session.rows(
            "SELECT * FROM desk.delivery WHERE forge = %s AND repository = %s AND delivery_id = %s",
            (forge, repository, delivery_id),
        )
        return _read_delivery(rows[0]) if rows else None

    def waiting(self, *, limit: int = 50) -> list[Delivery]:
        rows = self._session.rows("SELECT * FROM desk.delivery WHERE status = 'waiting' ORDER BY id LIMIT %s", (limit,))
        return [_read_delivery(row) for row in rows]

    def settle(self, id: int, *, status: str, note: str = "") -> None:
        self._session.rows("UPDATE desk.delivery SET status = %s, note = %s WHERE id = %s", (status, note, id))


def _read_delivery(row: dict[str, Any]) -> Delivery:
    return Delivery(
        id=row["id"],
        forge=row["forge"],
        repository=row["repository"],
        delivery_id=row["delivery_id"],
        headers=row["headers"],
        body=bytes(row["body"]),
        received_at=row["received_at"],
        status=row["status"],
        note=row["note"],
    )
