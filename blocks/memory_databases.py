"""Databases in memory: the twin of `blocks/databases_postgres.py`. Its URLs lead nowhere."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import ConfigError
from domain.ports import Migrating
from domain.schema import LockWait


class MemoryDatabases:
    """Fulfils `domain.ports.Databases` for tests.

    Attributes:
        thrown_away: how many servers came and went.
        waits: the waits for locks that every migration meets.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}
        self.thrown_away = 0
        self.waits: list[LockWait] = []

    def ensure(self, application: str, environment: str) -> None:
        self._known.setdefault((application, environment), 1)

    def rotate(self, application: str, environment: str) -> None:
        self.url(application, environment)
        self._known[application, environment] += 1

    def url(self, application: str, environment: str) -> str:
        if (application, environment) not in self._known:
            raise ConfigError(
                f"There is no database '{application}_{environment}' yet. Run `slipway app add`, or start a rollout."
            )
        name = f"{application}_{environment}"
        number = self._known[application, environment]
        return f"postgresql://{name}:password-{number}-of-{name}@database.invalid:5432/{name}"

    @contextmanager
    def migrating(
        self, application: str, environment: str, *, lock_timeout_s: float, statement_timeout_s: float
    ) -> Generator[Migrating]:
        name = f"{application}_{environment}"
        url = self.url(application, environment).replace(f"//{name}:", f"//{name}_migrate:")
        yield Migrating({"DATABASE_URL": url}, list(self.waits))

    @contextmanager
    def throwaway(self, directory: Path) -> Generator[str]:
        directory.mkdir(parents=True, exist_ok=True)
        number = self.thrown_away + 1
        yield f"postgresql://postgres:throwaway-{number}@database.invalid:5432/postgres"
        self.thrown_away = number
