"""The demo's approver and administrator: enrolled as anybody is, their authenticators played by a file.

Real people keep their seeds in a phone. Here they lie in `STATE/demo/people.json`, readable by the owner only, so that
the demo can answer alone; that is why it must not run where anything but the demo is delivered.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from blocks.installation import write_private
from blocks.one_time_code import STEP_S, code_at
from domain.errors import ConfigError
from domain.ports import Approver, Approvers

LEFT_S_MIN = 5
"""A code is checked when the run has started again; it counts for one step longer, so 30 s more than this."""


@dataclass(frozen=True, slots=True)
class Code:
    """A one-time code, and until when (seconds since 1970) it is the current one."""

    digits: str
    until: float


class People:
    """Names, seeds and used time steps, kept in one private file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}

    def ensure(self, approvers: Approvers, name: str, role: str) -> str:
        """See that somebody with this role is enrolled whose seed we have; returns their name.

        Where the name belongs to somebody else, the demo's person gets another one: nobody is ever replaced.
        """
        for wanted in (name, f"{name}-of-the-demo"):
            enrolled = approvers.get(wanted)
            if enrolled is not None and wanted in self._known:
                return wanted
            if enrolled is None:
                uri = approvers.enrol(Approver(name=wanted, roles=(role,)))
                self._known[wanted] = {"seed": parse_qs(urlsplit(uri).query)["secret"][0], "used_step": 0}
                self._save()
                return wanted
        raise ConfigError(f"'{name}' is enrolled and not the demo's. Run `slipway approver revoke {name}-of-the-demo`.")

    def names(self) -> list[str]:
        return sorted(self._known)

    def next_code(self, name: str, *, sleep: Callable[[float], None] = time.sleep) -> Code:
        """Take a code that nobody used yet and that stays current for a while; waits for the next where needed.

        Effect: the code counts as used. Raises: ConfigError for a name that is not the demo's.
        """
        person = self._person(name)
        now = time.time()
        step = int(now) // STEP_S
        if step <= person["used_step"] or (step + 1) * STEP_S - now < LEFT_S_MIN:
            step = max(step, int(person["used_step"])) + 1
            sleep(max(0.0, step * STEP_S - now) + 0.2)
        person["used_step"] = step
        self._save()
        return Code(code_at(person["seed"], step), (step + 1) * STEP_S)

    def shown_code(self, name: str) -> Code:
        """Read the current code, as a phone shows it; it does not count as used."""
        step = int(datetime.now(UTC).timestamp()) // STEP_S
        return Code(code_at(self._person(name)["seed"], step), (step + 1) * STEP_S)

    def _person(self, name: str) -> dict[str, Any]:
        if name not in self._known:
            known = ", ".join(self.names()) or "nobody yet; run `slipway demo`"
            raise ConfigError(f"'{name}' is not one of the demo's people: {known}.")
        return self._known[name]

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_private(self._file, json.dumps(self._known, indent=2))
