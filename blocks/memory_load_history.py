"""How the load was, in memory: the twin of `blocks/load_history_postgres.py`."""

from datetime import datetime, timedelta

from domain.load_policy import Look

KEPT = timedelta(days=3)


class MemoryLoadHistory:
    """Fulfils `domain.ports_load.LoadHistory` for tests."""

    def __init__(self) -> None:
        self._looks: dict[tuple[str, str], dict[datetime, Look]] = {}

    def keep(self, application: str, environment: str, look: Look) -> None:
        known = self._looks.setdefault((application, environment), {})
        known[look.at] = look
        self._looks[application, environment] = {at: one for at, one in known.items() if at >= look.at - KEPT}

    def looks(self, application: str, environment: str, *, since: datetime) -> list[Look]:
        known = self._looks.get((application, environment), {})
        return [known[at] for at in sorted(known) if at >= since]
