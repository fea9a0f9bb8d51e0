"""Databases in memory: the twin of `blocks/databases_postgres.py`. Its URLs lead nowhere."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import ConfigError


class MemoryDatabases:
    """Fulfils `domain.ports.Databases` for tests; `thrown_away` counts the servers that came and went."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self.thrown_away = 0

    def ensure(self, application: str, environment: str) -> None:
        self._known.add((application, environment))

    def url(self, application: str, environment: str) -> str:
        if (application, environment) not in self._known:
            raise ConfigError(
                f"There is no database '{application}_{environment}' yet. Run `slipway app add`, or start a rollout."
            )
        name = f"{application}_{environment}"
        return f"postgresql://{name}:password-of-{name}@database.invalid:5432/{name}"

    @contextmanager
    def throwaway(self, directory: Path) -> Generator[str]:
        directory.mkdir(parents=True, exist_ok=True)
        number = self.thrown_away + 1
        yield f"postgresql://postgres:throwaway-{number}@database.invalid:5432/postgres"
        self.thrown_away = number
