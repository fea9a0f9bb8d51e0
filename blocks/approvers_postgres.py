"""Approvers in PostgreSQL: `Approvers` on the tables `desk.approver` and `desk.used_code`.

Seeds rest sealed, outside Prefect's database; a code is used up by inserting its time step, which can happen once.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from blocks.one_time_code import matching_step, new_seed, provisioning_uri
from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.errors import ConfigError
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
        """Register a new person. Raises: ConfigError where the name is taken: revoke it first."""
        seed = new_seed()
        added = self._session.rows(
            "INSERT INTO desk.approver (name, roles, logins, seed) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (name) DO NOTHING RETURNING name",
            (approver.name, list(approver.roles), list(approver.logins), self._seal.close(seed)),
        )
        if not added:
            raise ConfigError(f"'{approver.name}' is enrolled already. Run `slipway approver revoke {approver.name}`.")
        return provisioning_uri(seed, approver.name)

    def get(self, name: str) -> Approver | None:
        return next((approver for approver in self.list() if approver.name == name), None)

    def list(self) -> list[Approver]:
        rows = self._session.rows("SELECT name, roles, logins FROM desk.approver ORDER BY name")
        return [Approver(name=row["name"], roles=tuple(row["roles"]), logins=tuple(row["logins"])) for row in rows]

    def revoke(self, name: str) -> None:
        self._session.rows("DELETE FROM desk.approver WHERE name = %s", (name,))

    def use_code(self, name: str, code: str) -> str:
        rows = self._session.rows("SELECT seed FROM desk.approver WHERE name = %s", (name,))
        if not rows:
            return "unknown"
        step = matching_step(self._seal.open(rows[0]["seed"]), code, now=self._clock())
        if step is None:
            return "wrong"
        used = self._session.rows(
            "INSERT INTO desk.used_code (approver, time_step) VALUES (%s, %s)"
            " ON CONFLICT DO NOTHING RETURNING time_step",
            (name, step),
        )
        return "ok" if used else "used"
