"""The ledger in PostgreSQL: `Ledger` on the table `ledger.event`.

Appends are serialised by an advisory lock held to the end of the transaction, so that the chain has no forks. The role
can insert and select only; a trigger refuses the rest (`blocks/ledger_schema.py`).
"""

from collections.abc import Collection, Generator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from blocks.ledger_schema import install_schema
from blocks.postgres_session import PostgresSession
from domain.canonical import canonical_json
from domain.ledger import Entry, Event, Link, as_stored, chain_entry, encode_fields, encode_time

__all__ = ["PostgresLedger", "install_schema"]

_LOCK = 0x51_1B_A4
_PAGE = 2000
_1970 = datetime(1970, 1, 1, tzinfo=UTC)

# Times as seconds with all their digits, `data` as its text: what is hashed is what is stored, not what we make of it.
_LINKS: LiteralString = """
SELECT seq, extract(epoch FROM at)::text, kind, application, environment, site, release, actor, run, key, data::text,
    prev_hash, hash
FROM ledger.event ORDER BY seq
"""


class PostgresLedger:
    """Fulfils `domain.ports.Ledger`."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    def append(self, event: Event) -> Entry:
        """Add one event to the chain. Effect: one row; with a key that is already there, none."""
        event = as_stored(event)
        with self._session.transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if event.key is not None:
                known = connection.execute("SELECT * FROM ledger.event WHERE key = %s", (event.key,)).fetchone()
                if known is not None:
                    return _read_entry(known)
            newest = connection.execute(
                "SELECT * FROM (SELECT 1 AS one) AS always LEFT JOIN LATERAL "
                "(SELECT * FROM ledger.event ORDER BY seq DESC LIMIT 1) AS last ON true "
                "CROSS JOIN (SELECT clock_timestamp() AS appended_at) AS clock"
            ).fetchone()
            assert newest is not None
            last = _read_entry(newest) if newest["seq"] is not None else None
            entry = chain_entry(last, newest["appended_at"], event)
            connection.execute(
                "INSERT INTO ledger.event (seq, at, kind, application, environment, site, release, actor, run, key,"
                " data, prev_hash, hash) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::json, %s, %s)",
                (
                    entry.seq,
                    entry.at,
                    event.kind,
                    event.application,
                    event.environment,
                    event.site,
                    event.release,
                    event.actor,
                    event.run,
                    event.key,
                    canonical_json(event.data),
                    entry.prev_hash,
                    entry.hash,
                ),
            )
            return entry

    def entries(
        self,
        *,
        kinds: Collection[str] = (),
        application: str = "",
        environment: str = "",
        release: str = "",
        run: str = "",
        after: int = 0,
        limit: int = 10_000,
        newest_first: bool = False,
    ) -> list[Entry]:
        """Read entries that match every filter given."""
        filters = {"application": application, "environment": environment, "release": release, "run": run}
        conditions, parameters = ["seq > %s"], [after]
        values: list[Any] = list(parameters)
        if kinds:
            conditions.append("kind = ANY(%s)")
            values.append(list(kinds))
        for column, value in filters.items():
            if value:
                conditions.append(f"{column} = %s")
                values.append(value)
        order = "DESC" if newest_first else "ASC"
        statement = f"SELECT * FROM ledger.event WHERE {' AND '.join(conditions)} ORDER BY seq {order} LIMIT %s"
        return [_read_entry(row) for row in self._session.rows(statement, [*values, limit])]

    def links(self) -> Generator[Link]:
        """Walk the whole table as it is stored, oldest first, through a cursor of the server: constant memory."""
        with closing(self._session.stream(_LINKS, page=_PAGE)) as rows:
            yield from map(_read_link, rows)


def _read_link(row: tuple[Any, ...]) -> Link:
    """Read a row as text, whatever somebody made of it: even a time or a number that we would never write."""
    seq, since_1970, kind, application, environment, site, release, actor, run, key, data, prev_hash, hash = row
    encoded = encode_fields(
        seq=seq,
        at=_read_time(since_1970),
        kind=kind,
        application=application,
        environment=environment,
        site=site,
        release=release,
        actor=actor,
        run=run,
        key=key,
        data=str(data),
    )
    return Link(seq=seq, encoded=encoded, prev_hash=str(prev_hash), hash=str(hash))


def _read_time(since_1970: str) -> str:
    seconds, _, fraction = str(since_1970).partition(".")
    if not (seconds.isdigit() and len(fraction) == 6):
        return str(since_1970)  # no time of ours: infinity, long ago; it will not match its hash
    try:
        return encode_time(_1970 + timedelta(seconds=int(seconds), microseconds=int(fraction)))
    except OverflowError:
        return str(since_1970)


def _read_entry(row: dict[str, Any]) -> Entry:
    event = Event(
        kind=row["kind"],
        application=row["application"],
        environment=row["environment"],
        site=row["site"],
        release=row["release"],
        actor=row["actor"],
        run=row["run"],
        key=row["key"],
        data=row["data"],
    )
    return Entry(seq=row["seq"], at=row["at"], event=event, prev_hash=row["prev_hash"], hash=row["hash"])
