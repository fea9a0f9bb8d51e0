"""PostgreSQL's own tools, tried before they are believed: one that is missing, crashes or is another's is unavailable.

Wheels and packages ship broken ones, and a tool of another major version answers about nothing. Called by the scratch
servers of drills.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.identity import as_user, clean_environment

_PROBE_LIMIT_S = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool said; `code` below 0: it was ended by that signal."""

    code: int
    words: str

    @property
    def last_line(self) -> str:
        return (self.words.strip().splitlines() or ["no word"])[-1][:200]


def probe_tool(folder: Path, tool: str, *, major: int, user: str | None) -> str:
    """Try `tool --version`; returns why it can't be used, empty where it can."""
    path = folder / tool
    if not path.is_file():
        return f"{tool} is not there"
    try:
        answer = run_tool([str(path), "--version"], user=user, limit_s=_PROBE_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"{tool} does not run: {str(exc)[:120]}"
    if answer.code < 0:
        return f"{tool} crashes (signal {-answer.code})"
    if answer.code:
        return f"{tool} --version ends with {answer.code}"
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.words)
    if found is None:
        return f"{tool} does not say its version"
    if int(found[1]) != major:
        return f"{tool} is of PostgreSQL {found[1]}, the server of {major}"
    return ""


def run_tool(
    command: Sequence[str], *, user: str | None, limit_s: float, environment: Mapping[str, str] = {}
) -> Answer:
    """Run a tool to its end. Raises: OSError, subprocess.TimeoutExpired."""
    done = subprocess.run(
        command,
        cwd="/",
        env=clean_environment({**environment, "PGCONNECT_TIMEOUT": "10"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=limit_s,
        **as_user(user),
    )
    return Answer(done.returncode, f"{done.stdout}\n{done.stderr}")
