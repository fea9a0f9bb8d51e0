"""Approvers in PostgreSQL: `Approvers` on the tables `desk.approver` and `desk.used_code`.

Seeds rest sealed, outside Prefect's database. The row of a person is locked while one of their codes is weighed, so
that wrong codes are counted one by one; a code is used up by inserting its time step, which can happen once.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from blocks.one_time_code import matching_step, new_seed, provisioning_uri
from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.enrolment import explain_nobody, explain_taken
from domain.errors import ConfigError
from domain.lockout import CodeUse, Tries, weigh_code
from domain.ports import Approver


class PostgresApprovers:
    """Fulfils `domain.ports.Approvers`."""

    def __init__(
        self, session: PostgresSession, seal: Seal, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._session = session
        self._seal = seal
        self._clock = clock

    def enrol(self, approver: Approver) -> str:
        """Register a new person. Raises: ConfigError where the name is taken."""
        seed = new_seed()
        added = self._session.rows(
            "INSERT INTO desk.approver (name, roles, logins, seed) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (name) DO NOTHING RETURNING name",
            (approver.name, list(approver.roles), list(approver.logins), self._seal.close(seed)),
        )
        if not added:
            raise ConfigError(explain_taken(approver.name))
        return provisioning_uri(seed, approver.name)

    def get(self, name: str) -> Approver | None:
        return next((approver for approver in self.list() if approver.name == name), None)

    def list(self) -> list[Approver]:
        rows = self._session.rows("SELECT name, roles, logins FROM desk.approver ORDER BY name")
        return [Approver(name=row["name"], roles=tuple(row["roles"]), logins=tuple(row["logins"])) for row in rows]

    def change(self, approver: Approver) -> None:
        changed = self._session.rows(
            "UPDATE desk.approver SET roles = %s, logins = %s WHERE name = %s RETURNING name",
            (list(approver.roles), list(approver.logins), approver.name),
        )
        if not changed:
            raise ConfigError(explain_nobody(approver.name, self.list()))

    def renew(self, name: str) -> str:
        seed = new_seed()
        changed = self._session.rows(
            "UPDATE desk.approver SET seed = %s, wrong_codes = 0, locked_until = NULL WHERE name = %s RETURNING name",
            (self._seal.close(seed), name),
        )
        if not changed:
            raise ConfigError(explain_nobody(name, self.list()))
        return provisioning_uri(seed, name)

    def revoke(self, name: str) -> None:
        self._session.rows("DELETE FROM desk.approver WHERE name = %s", (name,))

    def use_code(self, name: str, code: str) -> CodeUse:
        with self._session.transaction() as connection:
            row = connection.execute(
                "SELECT seed, wrong_codes, locked_until FROM desk.approver WHERE name = %s FOR UPDATE", (name,)
            ).fetchone()
            if row is None:
                return CodeUse("unknown")
            now = self._clock()
            step = matching_step(self._seal.open(row["seed"]), code, now=now)
            used = connection.execute(
                "INSERT INTO desk.used_code (approver, time_step) SELECT %s, %s::bigint WHERE %s::bigint IS NOT NULL"
                " ON CONFLICT DO NOTHING RETURNING time_step",
                (name, step, step),
            ).fetchone()
            tries = Tries(row["wrong_codes"], row["locked_until"])
            use, after = weigh_code(tries, is_right=step is not None, is_first_use=used is not None, now=now)
            connection.execute(
                "UPDATE desk.approver SET wrong_codes = %s, locked_until = %s WHERE name = %s",
                (after.wrong, after.locked_until, name),
            )
            return use
