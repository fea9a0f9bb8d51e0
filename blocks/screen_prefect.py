"""What people see of a run in Prefect's UI: `Screen`, as artifacts.

A bar that can't be moved must hold up nobody: while a canary is watched, Prefect's server may be away. So bars move
from a thread of their own, the latest position wins, and one that can't be shown is forgotten.
"""

import contextvars
import threading
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectHTTPStatusError

from domain.errors import TransientError


class PrefectScreen:
    """Fulfils `domain.ports.Screen` for the run that this process works on."""

    def __init__(self) -> None:
        self._bars: dict[str, UUID] = {}
        self._waiting: dict[str, tuple[str, float]] = {}
        self._guard = threading.Lock()
        self._mover: threading.Thread | None = None

    def progress(self, key: str, *, percent: float, description: str) -> None:
        with self._guard:
            self._waiting[key] = (description, percent)
            if self._mover is None or not self._mover.is_alive():
                # an artifact belongs to the run of the context in which it is made
                run = contextvars.copy_context().run
                self._mover = threading.Thread(target=run, args=(self._move,), name="progress bars", daemon=True)
                self._mover.start()

    def report(self, key: str, *, markdown: str, description: str) -> str:
        try:
            return str(create_markdown_artifact(markdown, key=key, description=description))
        except (httpx.HTTPError, PrefectHTTPStatusError) as exc:
            raise TransientError(f"The report '{key}' could not be shown: {str(exc)[:256]}. Try again.") from exc

    def _move(self) -> None:
        while True:
            with self._guard:
                if not self._waiting:
                    self._mover = None
                    return
                key, (description, percent) = self._waiting.popitem()
            try:
                if key in self._bars:
                    update_progress_artifact(self._bars[key], percent)
                else:
                    self._bars[key] = UUID(str(create_progress_artifact(percent, key=key, description=description)))
            except (httpx.HTTPError, PrefectHTTPStatusError):
                continue  # the next position is as good
