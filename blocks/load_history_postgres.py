"""How the load was, in PostgreSQL: `LoadHistory` on `desk.load_look`. Bounded: what is older than three days goes."""

from datetime import datetime

from blocks.postgres_session import PostgresSession
from domain.load_policy import Look

LOAD_TABLES = """
CREATE TABLE IF NOT EXISTS desk.load_look (
    application text NOT NULL,
    environment text NOT NULL,
    at timestamptz NOT NULL,
    load double precision NOT NULL,
    instances integer NOT NULL,
    wanted integer NOT NULL,
    decided text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (application, environment, at)
);
"""


class PostgresLoadHistory:
    """Fulfils `domain.ports_load.LoadHistory`."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    def keep(self, application: str, environment: str, look: Look) -> None:
        place = (application, environment)
        values = (look.at, look.load, look.instances, look.wanted, look.decided, look.detail[:500])
        with self._session.transaction() as connection:
            connection.execute(
                "DELETE FROM desk.load_look WHERE application = %s AND environment = %s "
                "AND (at = %s OR at < %s - interval '3 days')",
                (*place, look.at, look.at),
            )
            connection.execute("INSERT INTO desk.load_look VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", (*place, *values))

    def looks(self, application: str, environment: str, *, since: datetime) -> list[Look]:
        rows = self._session.rows(
            "SELECT at, load, instances, wanted, decided, detail FROM desk.load_look "
            "WHERE application = %s AND environment = %s AND at >= %s ORDER BY at",
            (application, environment, since),
        )
        return [Look(**row) for row in rows]
