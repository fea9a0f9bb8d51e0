"""Customers: who writes to the desk. An e-mail address is one person, whatever its capitals."""

from dataclasses import dataclass
from datetime import datetime

from helpdesk.database import Connection

PAGE_SIZE = 25


@dataclass(frozen=True, slots=True)
class Customer:
    id: int
    email: str
    name: str
    created_at: datetime
    tickets: int = 0


async def keep_customer(connection: Connection, *, email: str, name: str) -> int:
    """Find the customer with this address, or add one; returns the id. A known customer's name stays."""
    # Read first: an INSERT ... ON CONFLICT would burn a number of the identity and write a row version each time.
    cursor = await connection.execute("SELECT id FROM customers WHERE lower(email) = lower(%s)", (email,))
    row = await cursor.fetchone()
    if row is None:
        cursor = await connection.execute(
            """
            INSERT INTO customers (email, name) VALUES (%s, %s)
            ON CONFLICT (lower(email)) DO UPDATE SET name = customers.name RETURNING id
            """,
            (email, name),
        )
        row = await cursor.fetchone()
    assert row is not None
    return row["id"]


async def list_customers(connection: Connection, *, search: str = "", page: int = 1) -> list[Customer]:
    """List customers by name, with how many tickets each wrote."""
    cursor = await connection.execute(
        """
        SELECT c.id, c.email, c.name, c.created_at,
               (SELECT count(*) FROM tickets t WHERE t.customer_id = c.id) AS tickets
        FROM customers c
        WHERE %(search)s = '' OR c.name ILIKE %(like)s OR c.email ILIKE %(like)s
        ORDER BY lower(c.name), c.id LIMIT %(limit)s OFFSET %(offset)s
        """,
        {"search": search, "like": f"%{_plain(search)}%", "limit": PAGE_SIZE, "offset": (page - 1) * PAGE_SIZE},
    )
    return [Customer(**row) for row in await cursor.fetchall()]


async def read_customer(connection: Connection, id: int) -> Customer | None:
    cursor = await connection.execute(
        """
        SELECT id, email, name, created_at, (SELECT count(*) FROM tickets WHERE customer_id = c.id) AS tickets
        FROM customers c WHERE id = %s
        """,
        (id,),
    )
    row = await cursor.fetchone()
    return Customer(**row) if row else None


def _plain(search: str) -> str:
    """Take the meaning out of LIKE's own signs."""
    return search.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
