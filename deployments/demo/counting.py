"""What visitors saw, counted: who was served, who was failed, and by which release.

Pure: answers in, numbers out. An answer that failed counts against the bad release only where its header says that the
bad release gave it; everything else that failed counts as *outside*, whoever is to blame.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SLOW_MS = 100.0
"""How much longer than the other releases' median for the same kind of request an answer may take before its visitor
counts as harmed: what a person notices."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request as its sender saw it. `at` is when it left (seconds since 1970); `status` 0: no whole answer came.

    `release` is what the answer said of itself, empty where it said nothing; `why` is empty when all was well.
    """

    at: float
    site: str
    what: str
    status: int
    ms: float
    release: str
    why: str

    @property
    def is_failed(self) -> bool:
        return bool(self.why)

    @property
    def was_sent(self) -> bool:
        return self.what != "skipped"


@dataclass(frozen=True, slots=True)
class Harm:
    """What a bad release did to visitors: on `requests` of theirs, `failed` and `slow` ones; seconds since 1970."""

    requests: int = 0
    failed: int = 0
    slow: int = 0
    on_primary: int = 0
    first_at: float | None = None
    last_at: float | None = None

    @property
    def harmed(self) -> int:
        return self.failed + self.slow


def count_sent(answers: Iterable[Answer]) -> int:
    """Count the requests that really left."""
    return sum(1 for answer in answers if answer.was_sent)


def failed_outside(answers: Iterable[Answer], *, bad: str) -> list[Answer]:
    """List what failed and was not answered by the bad release; where `bad` is empty, everything that failed."""
    return [answer for answer in answers if answer.is_failed and not (bad and answer.release == bad)]


def count_harm(answers: Sequence[Answer], *, bad: str, primary: str) -> Harm:
    """Count what the bad release did: failures, and answers much slower than the live release gave meanwhile."""
    by_bad = [answer for answer in answers if answer.release == bad and answer.was_sent]
    if not by_bad:
        return Harm()
    first_at, last_at = min(answer.at for answer in by_bad), max(answer.at for answer in by_bad)
    usual_ms = _usual_ms([one for one in answers if one.release != bad and first_at <= one.at <= last_at])
    failed = sum(1 for answer in by_bad if answer.is_failed)
    slow = sum(1 for one in by_bad if not one.is_failed and one.ms > usual_ms.get(one.what, math.inf) + SLOW_MS)
    on_primary = [answer.at for answer in by_bad if answer.site == primary]
    return Harm(
        requests=len(by_bad),
        failed=failed,
        slow=slow,
        on_primary=len(on_primary),
        first_at=min(on_primary, default=first_at),
        last_at=last_at,
    )


def _usual_ms(answers: Iterable[Answer]) -> dict[str, float]:
    """The median of good answers, by kind of request."""
    by_kind: dict[str, list[float]] = {}
    for answer in answers:
        if not answer.is_failed:
            by_kind.setdefault(answer.what, []).append(answer.ms)
    return {what: percentile(values, 0.5) for what, values in by_kind.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
