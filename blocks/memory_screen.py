"""The screen in memory: the twin of `blocks/screen_prefect.py`."""


class MemoryScreen:
    """Fulfils `domain.ports.Screen` for tests: `bars` are the positions by key, `reports` the texts, newest last."""

    def __init__(self) -> None:
        self.bars: dict[str, float] = {}
        self.reports: dict[str, list[str]] = {}

    def progress(self, key: str, *, percent: float, description: str) -> None:
        self.bars[key] = percent

    def report(self, key: str, *, markdown: str, description: str) -> str:
        self.reports.setdefault(key, []).append(markdown)
        return f"{key}/{len(self.reports[key])}"
