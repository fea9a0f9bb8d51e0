"""The role of who remembers how the load was: what `follow_load` looks back at, and what people are shown."""

from datetime import datetime
from typing import Protocol

from domain.load_policy import Look


class LoadHistory(Protocol):
    """Looks at the load of an application in an environment; of each place the newest thousand or so."""

    def keep(self, application: str, environment: str, look: Look) -> None:
        """Remember a look; the same moment again replaces it."""
        ...

    def looks(self, application: str, environment: str, *, since: datetime) -> list[Look]:
        """Read the looks since then, oldest first."""
        ...
