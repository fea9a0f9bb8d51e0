"""Checks of `ci`: how each ended, which test failed first, and the report that people read.

The tasks run the commands; here their output is read. What a test tool prints is recognised for pytest, unittest, Go,
Cargo, TAP and Jest; any other tool's failure is shown by the last lines of its output.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from domain.catalogue import Language, say
from domain.release import short

CheckOutcome = Literal["passed", "failed", "timed_out", "skipped"]
LINES_MAX = 30
_LINE_LENGTH_MAX = 300

_NAMES = (
    re.compile(r"^(?:FAILED|ERROR) (?P<name>\S+?\.py(?:::.+?)?)(?: - .*)?$"),  # pytest's summary
    re.compile(r"^(?:FAIL|ERROR): (?P<name>\w+ \(.+\))"),  # unittest
    re.compile(r"^\s*--- FAIL: (?P<name>\S+)"),  # Go
    re.compile(r"^test (?P<name>\S+) \.\.\. FAILED"),  # Cargo
    re.compile(r"^not ok \d+ (?:- )?(?P<name>.+)"),  # TAP
    re.compile(r"^\s*● (?P<name>.+)"),  # Jest
)
_HEADING = re.compile(r"^(_{3,} .+ _{3,}|(FAIL|ERROR): \w+ \(.+\)|\s*--- FAIL: .+|not ok \d+ .+|\s*● .+|---- .+ ----)$")
_RULE = re.compile(r"^={3,}")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+@")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Failure:
    """The first failing test: its name ("" where the tool does not say) and the last lines about it."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check ended. `kind` is `build`, `unit` or `integration`; `cause` is one line for a red one."""

    name: str
    kind: str
    outcome: CheckOutcome
    milliseconds: int = 0
    exit_code: int = 0
    cause: str = ""
    failure: Failure | None = None

    @property
    def is_red(self) -> bool:
        return self.outcome in ("failed", "timed_out")

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values for the ledger, without the lines."""
        return {
            "name": self.name,
            "layer": self.kind,
            "result": self.outcome,
            "milliseconds": self.milliseconds,
            "exit_code": self.exit_code,
            "first_failure": self.failure.name if self.failure else "",
        }


def find_first_failure(output: str) -> Failure:
    """Find the first failing test in a tool's output, and the last lines of what it says about it."""
    lines = [_clean(line) for line in output.splitlines()]
    name = next((found["name"].strip() for line in lines for found in _matches(line)), "")
    headings = [number for number, line in enumerate(lines) if _HEADING.match(line)]
    if not headings:
        return Failure(name, tuple(lines[-LINES_MAX:]))
    start = headings[0]
    rules = (number for number, line in enumerate(lines) if number > start and _RULE.match(line))
    end = min([*headings[1:2], *[number for number in rules][:1]], default=len(lines))
    block = [line for line in lines[start:end] if line.strip()]
    return Failure(name or lines[start].strip("_ "), tuple(block[-LINES_MAX:]))


def _clean(line: str) -> str:
    """Take colours out, and the credentials of URLs: a test may print its environment."""
    return _CREDENTIALS.sub("***@", _CONTROL.sub("", line))[:_LINE_LENGTH_MAX]


def _matches(line: str) -> list[re.Match[str]]:
    return [found for pattern in _NAMES if (found := pattern.match(line))]


def first_red(results: Sequence[CheckResult]) -> CheckResult | None:
    """Choose the check that a person should read first."""
    return next((result for result in results if result.is_red), None)


def explain_check(
    *, name: str, outcome: CheckOutcome, exit_code: int, limit_s: int, failure: Failure, language: Language
) -> str:
    """Say in one line why a check is red."""
    if outcome == "timed_out":
        return say("ci.timed_out", language=language, check=name, limit_s=limit_s)
    if failure.name:
        return say("ci.test_failed", language=language, check=name, test=failure.name[:200])
    return say("ci.command_failed", language=language, check=name, exit_code=exit_code)


def explain_build(
    *,
    application: str,
    commit: str,
    results: Sequence[CheckResult],
    cause: str = "",
    release: str = "",
    requester: str = "",
    notes: Sequence[str] = (),
    language: Language,
) -> str:
    """Write the report of one `ci` run as Markdown: the cause first, then every check, then the failing lines.

    `notes` are what people should know before they trust it: where other people's code was not isolated.
    """
    mark, heading = ("❌", "ci.report_red") if cause else ("✅", "ci.report_green")
    title = say(heading, language=language, application=application, commit=short(commit), release=short(release))
    parts = [f"# {mark} {title}"]
    parts += [f"**{_one_line(cause)}**"] if cause else []
    parts += [say("ci.report_requester", language=language, requester=_one_line(requester))] if requester else []
    parts += [f"> ⚠️ {' '.join(note.split())}" for note in notes]
    parts += [_table(results, language)] if results else []
    red = first_red(results)
    if red is not None and red.failure is not None:
        parts += [_failing_part(red, red.failure, language)]
    return "\n\n".join(parts) + "\n"


def _table(results: Sequence[CheckResult], language: Language) -> str:
    columns = ("check", "kind", "result", "seconds")
    head = " | ".join(say(f"ci.column_{column}", language=language) for column in columns)
    rows = [
        f"| {result.name} | {say(f'ci.kind_{result.kind}', language=language)} |"
        f" {say(f'ci.result_{result.outcome}', language=language)} | {result.milliseconds / 1000:.1f} |"
        for result in results
    ]
    return "\n".join([f"| {head} |", "| --- | --- | --- | ---: |", *rows])


def _failing_part(red: CheckResult, failure: Failure, language: Language) -> str:
    title = say("ci.report_lines", language=language, check=red.name)
    named = f"{title} `{failure.name.replace('`', '')}`" if failure.name else title
    text = "\n".join(failure.lines) or say("ci.report_no_output", language=language)
    return f"## {named}\n\n{_fenced(text)}"


def _fenced(text: str) -> str:
    """Quote text whatever it holds: the fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _one_line(text: str) -> str:
    """Keep what somebody else wrote from becoming headings, tables or links."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))[:500]
