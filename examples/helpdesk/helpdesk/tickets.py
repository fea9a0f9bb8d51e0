"""Tickets and their comments.

A ticket is `open` (the desk's turn), `waiting` (the customer's turn) or `closed`. Whoever comments hands the turn to
the other side; a customer's comment opens a closed ticket again.
"""

from dataclasses import dataclass
from datetime import datetime

from helpdesk.customers import keep_customer
from helpdesk.database import Connection

STATUSES = ("open", "waiting", "closed")
PRIORITIES = ("low", "normal", "high")
PAGE_SIZE = 20


@dataclass(frozen=True, slots=True)
class Ticket:
    id: int
    subject: str
    body: str
    status: str
    priority: str
    customer_id: int
    customer_name: str
    customer_email: str
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Comment:
    id: int
    author: str
    from_desk: bool
    body: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tickets to list; an empty field does not filter."""

    status: str = ""
    priority: str = ""
    search: str = ""
    customer_id: int | None = None


_COLUMNS = """
    t.id, t.subject, t.body, t.status, t.priority, t.customer_id, c.name AS customer_name, c.email AS customer_email,
    t.created_at, t.updated_at, t.closed_at
"""
# Conditions that do not apply are left out, so that each combination gets the index that suits it.
_CONDITIONS = {
    "status": "t.status = %(status)s",
    "priority": "t.priority = %(priority)s",
    "search": "t.words @@ websearch_to_tsquery('english', %(search)s)",
    "customer_id": "t.customer_id = %(customer_id)s",
}


async def open_ticket(
    connection: Connection, *, email: str, name: str, subject: str, body: str, priority: str = "normal"
) -> int:
    """Write down a new ticket, and its customer where we don't know them yet; returns the ticket's id."""
    async with connection.transaction():
        customer_id = await keep_customer(connection, email=email, name=name)
        cursor = await connection.execute(
            "INSERT INTO tickets (customer_id, subject, body, priority) VALUES (%s, %s, %s, %s) RETURNING id",
            (customer_id, subject, body, priority),
        )
        row = await cursor.fetchone()
    assert row is not None
    return row["id"]


async def list_tickets(connection: Connection, wanted: Filter, *, page: int = 1) -> list[Ticket]:
    """List tickets, latest movement first, one page; one more than `PAGE_SIZE` tells that another page follows."""
    values = {name: getattr(wanted, name) for name in _CONDITIONS}
    conditions = [text for name, text in _CONDITIONS.items() if values[name] not in ("", None)]
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM tickets t JOIN customers c ON c.id = t.customer_id
        WHERE {" AND ".join(conditions) or "true"}
        ORDER BY t.updated_at DESC, t.id DESC LIMIT %(limit)s OFFSET %(offset)s
        """,
        {**values, "limit": PAGE_SIZE + 1, "offset": (page - 1) * PAGE_SIZE},
    )
    return [Ticket(**row) for row in await cursor.fetchall()]


async def count_tickets(connection: Connection) -> dict[str, int]:
    """Count tickets by status; every status is there."""
    cursor = await connection.execute("SELECT status, count(*) AS count FROM tickets GROUP BY status")
    counts = {row["status"]: row["count"] for row in await cursor.fetchall()}
    return {status: counts.get(status, 0) for status in STATUSES}


async def read_ticket(connection: Connection, id: int) -> Ticket | None:
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.id = %s", (id,)
    )
    row = await cursor.fetchone()
    return Ticket(**row) if row else None


async def list_comments(connection: Connection, ticket_id: int, *, limit: int = 200) -> list[Comment]:
    """List a ticket's comments, oldest first; of more than `limit`, the latest."""
    cursor = await connection.execute(
        """
        SELECT id, author, from_desk, body, created_at FROM comments
        WHERE ticket_id = %s ORDER BY id DESC LIMIT %s
        """,
        (ticket_id, limit),
    )
    return [Comment(**row) for row in reversed(await cursor.fetchall())]


async def add_comment(connection: Connection, ticket_id: int, *, author: str, from_desk: bool, body: str) -> int | None:
    """Add a comment and hand the turn over; returns its id, None where there is no such ticket."""
    async with connection.transaction():
        status = "waiting" if from_desk else "open"
        if not await _move(connection, ticket_id, status):
            return None
        cursor = await connection.execute(
            "INSERT INTO comments (ticket_id, author, from_desk, body) VALUES (%s, %s, %s, %s) RETURNING id",
            (ticket_id, author, from_desk, body),
        )
        row = await cursor.fetchone()
    assert row is not None
    return row["id"]


async def set_status(connection: Connection, ticket_id: int, status: str) -> bool:
    """Give a ticket a status; False where there is no such ticket. Doing it again changes nothing."""
    async with connection.transaction():
        return await _move(connection, ticket_id, status)


async def set_priority(connection: Connection, ticket_id: int, priority: str) -> bool:
    cursor = await connection.execute(
        "UPDATE tickets SET priority = %s, updated_at = now() WHERE id = %s", (priority, ticket_id)
    )
    return cursor.rowcount == 1


async def _move(connection: Connection, ticket_id: int, status: str) -> bool:
    cursor = await connection.execute(
        """
        UPDATE tickets SET status = %(status)s, updated_at = now(),
            closed_at = CASE WHEN %(status)s = 'closed' THEN coalesce(closed_at, now()) END
        WHERE id = %(id)s
        """,
        {"status": status, "id": ticket_id},
    )
    return cursor.rowcount == 1
