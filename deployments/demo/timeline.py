"""What a person sees of the demo: one line for each thing that happens, with the seconds since the beginning.

On a terminal a last line moves with the traffic; elsewhere (a log, CI) there are only the lines.
"""

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from domain.catalogue import Language, say

MARKS = {"": " ", "ok": "✓", "bad": "✗", "wait": "…", "act": "▶"}
_STYLES = {"": "", "ok": "green", "bad": "red", "wait": "yellow", "act": "bold cyan"}


class Timeline:
    """Prints texts of the catalogue (`demo.<key>`) as they happen."""

    def __init__(self, *, language: Language = "en", console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._language: Language = language
        self._begun = time.monotonic()
        self._live: Live | None = None

    def speak(self, language: Language) -> None:
        """Use this language from here on."""
        self._language = language

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def text(self, key: str, **values: Any) -> str:
        return say(f"demo.{key}", language=self._language, **values)

    def act(self, key: str, **values: Any) -> None:
        """Begin a part of the story."""
        self._console.print()
        self._print("act", self.text(key, **values))

    def tell(self, key: str, *, mark: str = "", **values: Any) -> None:
        """Say that something happened."""
        self._print(mark, self.text(key, **values))

    def say_plain(self, text: str, *, mark: str = "") -> None:
        """Say what others have put into words."""
        self._print(mark, text)

    def print(self, text: str | Text = "") -> None:
        """Print without the time: summaries, hints."""
        self._console.print(text, markup=False)

    def move(self, text: str) -> None:
        """Change the moving last line; nothing where there is no terminal."""
        if self._live is not None:
            self._live.update(Text(f"        {text}", style="dim"))

    def __enter__(self) -> "Timeline":
        if self._console.is_terminal:
            self._live = Live("", console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, mark: str, text: str) -> None:
        minutes, seconds = divmod(int(self.seconds), 60)
        first, *more = text.split("\n")
        line = Text(f"{minutes:3}:{seconds:02} {MARKS[mark]} ", style="dim" if not mark else _STYLES[mark])
        line.append(first, style=_STYLES[mark])
        self._console.print(line)
        for other in more:
            self._console.print(Text(f"         {other}", style="dim"))
