"""What an operator sees while the stack comes up: one line for each part, with its seconds."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager


class Progress:
    """Prints lines with seconds since the beginning; works without a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._began = time.monotonic()
        self._quiet = quiet

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        if not self._quiet:
            print(f"{self.seconds:6.1f} s  {text}", flush=True)

    @contextmanager
    def step(self, name: str) -> Generator[list[str]]:
        """Time one step; what is appended to the list it yields becomes part of its line."""
        began, notes = time.monotonic(), list[str]()
        try:
            yield notes
        except BaseException:
            self.say(f"✗ {name}")
            raise
        self.say(f"✓ {name} ({time.monotonic() - began:.1f} s){''.join(f', {note}' for note in notes)}")


def complain(text: str) -> None:
    """Tell a person what went wrong, on the error stream."""
    print(text, file=sys.stderr, flush=True)
