"""Lets Great Expectations judge databases, in a child process with an environment of its own.

Called by scratch servers and by clean-up. The library takes five seconds and a quarter of a gigabyte to import, so that
no process of ours ever does, and so that the child can be started while a backup is still being restored. It gets a
question a line on its standard input, and answers each with a line of JSON. To a scratch server it has no password: a
socket that only its user may open leads there. To a live one it gets the application's.
"""

import json
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from blocks.identity import as_user, clean_environment
from domain.drill import Check, failed, passed, unavailable
from domain.errors import SlipwayError
from domain.ports_drill import Findings

CHILD = Path(__file__).with_name("expectations_child.py")
MARK = "slipway-answer:"
"""Before each answer: whatever else the library writes is none."""

_ANSWER_BYTES_MAX = 8 << 20
_QUIET = {
    "GX_ANALYTICS_ENABLED": "false",
    "TQDM_DISABLE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HOME": "/nonexistent",
    "MPLCONFIGDIR": "/nonexistent",
}


class ExpectationsChild:
    """One child: it imports at once, and then waits to be asked."""

    def __init__(self, python: Path, *, user: str | None) -> None:
        # a file, because nobody reads a pipe while the child waits
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            [str(python), "-I", "-c", CHILD.read_text()],
            cwd="/",
            env=clean_environment(_QUIET),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            **as_user(user),
        )

    def ask(self, question: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
        """Ask once. Raises: ValueError, OSError, subprocess.TimeoutExpired where there is no answer."""
        writer, reader = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        try:
            writer.write(json.dumps(question).encode() + b"\n")
            writer.flush()
        except BrokenPipeError:
            raise ValueError(self._last_words()) from None
        for line in self._lines(reader, limit_s):
            if line.startswith(MARK):
                answer = json.loads(line.removeprefix(MARK))
                if not isinstance(answer, dict):
                    raise ValueError("the child's answer is none")
                return cast(dict[str, Any], answer)
        raise ValueError(self._last_words())

    def end(self) -> None:
        """End it, whatever it does. May be repeated."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._words):
            with suppress(OSError):
                cast(IO[bytes], stream).close()

    def _lines(self, reader: IO[bytes], limit_s: float) -> Any:
        deadline, kept = time.monotonic() + limit_s, b""
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0 and len(kept) < _ANSWER_BYTES_MAX:
                if not selector.select(left):
                    break
                piece = cast(Any, reader).read1(1 << 16)
                if not piece:
                    return
                *whole, kept = (kept + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
        raise subprocess.TimeoutExpired("great_expectations", limit_s)

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._words.seek(0)
        lines = self._words.read(1 << 20).decode(errors="replace").strip().splitlines()
        return f"the child ended with {self._process.poll()}: {(lines or ['no word'])[-1][:200]}"


def run_expectations(
    python: Callable[[], Path],
    place: Mapping[str, Any],
    suites: Mapping[str, Any],
    *,
    user: str | None,
    limit_s: float,
    child: ExpectationsChild | None = None,
) -> Findings:
    """Judge a database by suites, lists of expectations by name; no answer is unavailable, never passed.

    `child` was started before, and stays; else one is started and ended.
    """
    begun = time.monotonic()
    names = [f"expectations.{name}" for name in suites]
    own: ExpectationsChild | None = None
    try:
        asked = child or (own := ExpectationsChild(python(), user=user))
        answers = asked.ask({"place": dict(place), "suites": dict(suites)}, limit_s=limit_s)
    except (SlipwayError, OSError, ValueError, subprocess.SubprocessError) as exc:
        return Findings(tuple(unavailable(name, f"Great Expectations: {str(exc)[:250]}") for name in names))
    finally:
        if own:
            own.end()
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
