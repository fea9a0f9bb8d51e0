"""Leases in PostgreSQL: `Leases` on the table `desk.lease`, by the server's own clock."""

from blocks.postgres_session import PostgresSession
from domain.errors import TransientError
from domain.ports import Lease


class PostgresLeases:
    """Fulfils `domain.ports.Leases`."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    def acquire(self, name: str, *, owner: str, ttl_s: float) -> Lease:
        """Take or renew a lease. Raises: TransientError that prints who holds it and until when."""
        taken = self._session.rows(
            "INSERT INTO desk.lease (name, owner, expires_at)"
            " VALUES (%(name)s, %(owner)s, clock_timestamp() + %(ttl)s * interval '1 second')"
            " ON CONFLICT (name) DO UPDATE SET owner = EXCLUDED.owner, expires_at = EXCLUDED.expires_at"
            " WHERE desk.lease.owner = EXCLUDED.owner OR desk.lease.expires_at <= clock_timestamp()"
            " RETURNING expires_at",
            {"name": name, "owner": owner, "ttl": ttl_s},
        )
        if taken:
            return Lease(name=name, owner=owner, expires_at=taken[0]["expires_at"])
        holder = next((lease for lease in self.held() if lease.name == name), None)
        who = f"{holder.owner} until {holder.expires_at:%Y-%m-%d %H:%M:%S} UTC" if holder else "somebody, just now"
        raise TransientError(f"The lease '{name}' is held by {who}. Wait for it, or cancel that run.")

    def release(self, name: str, *, owner: str) -> None:
        """Give a lease back; not holding it is no error."""
        self._session.rows("DELETE FROM desk.lease WHERE name = %s AND owner = %s", (name, owner))

    def held(self) -> list[Lease]:
        """List the leases in force."""
        rows = self._session.rows("SELECT * FROM desk.lease WHERE expires_at > clock_timestamp() ORDER BY name")
        return [Lease(name=row["name"], owner=row["owner"], expires_at=row["expires_at"]) for row in rows]
