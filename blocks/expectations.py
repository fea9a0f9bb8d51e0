"""Lets Great Expectations judge a database, in a child process with an environment of its own.

Called by scratch servers and by clean-up. The library takes five seconds and a quarter of a gigabyte to import, so that
no process of ours ever does; the child gets suites and place on its standard input, and answers with JSON. To a scratch
server it has no password: a socket that only its user may open leads there. To a live one it gets the application's.
"""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from blocks.identity import as_user, clean_environment
from domain.drill import Check, failed, passed, unavailable
from domain.errors import SlipwayError
from domain.ports_drill import Findings

CHILD = Path(__file__).with_name("expectations_child.py")


def run_expectations(
    python: Callable[[], Path],
    place: Mapping[str, Any],
    suites: Mapping[str, Any],
    *,
    user: str | None,
    limit_s: float,
) -> Findings:
    """Judge a database by suites, lists of expectations by name; no answer is unavailable, never passed."""
    begun = time.monotonic()
    names = [f"expectations.{name}" for name in suites]
    try:
        answers = _ask(python(), {"place": dict(place), "suites": dict(suites)}, user=user, limit_s=limit_s)
    except (SlipwayError, OSError, ValueError, subprocess.SubprocessError) as exc:
        return Findings(tuple(unavailable(name, f"Great Expectations: {str(exc)[:250]}") for name in names))
    seconds = (time.monotonic() - begun) / max(1, len(names))
    checks = tuple(_judge(name, answers.get(name), seconds) for name in suites)
    lines = tuple(f"{name}: {line}" for name in suites for line in (answers.get(name) or {}).get("lines", []))
    return Findings(checks, lines)


def _judge(name: str, answer: Mapping[str, Any] | None, seconds: float) -> Check:
    check = f"expectations.{name}"
    if answer is None or answer.get("error"):
        return unavailable(check, str((answer or {}).get("error", "the suite was not judged"))[:250], seconds=seconds)
    count, bad = int(answer["count"]), cast(list[str], answer["failed"])
    if bad:
        return failed(check, "expectations_failed", seconds=seconds, count=count, failed="; ".join(bad[:3])[:400])
    if count == 0:
        return unavailable(check, "the suite holds no expectation", seconds=seconds)
    return passed(check, "expectations_met", seconds=seconds, count=count)


def _ask(python: Path, question: Mapping[str, Any], *, user: str | None, limit_s: float) -> dict[str, Any]:
    quiet = {
        "GX_ANALYTICS_ENABLED": "false",
        "TQDM_DISABLE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/nonexistent",
    }
    done = subprocess.run(
        [str(python), "-I", "-c", CHILD.read_text()],
        input=json.dumps(question),
        cwd="/",
        env=clean_environment({**quiet, "MPLCONFIGDIR": "/nonexistent"}),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=limit_s,
        **as_user(user),
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise ValueError(f"the child ended with {done.returncode}: {last[:200]}")
    return cast(dict[str, Any], json.loads(done.stdout.strip().splitlines()[-1]))
