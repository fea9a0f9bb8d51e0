"""Pull requests as a forge tells of them: read by `blocks/reviews_http.py`, judged by `domain/review.py`."""

from dataclasses import dataclass
from typing import Literal

State = Literal["approved", "refused", "withdrawn", "other"]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What somebody said of a pull request, of which commit of it."""

    reviewer: str
    state: State
    commit: str


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A merged pull request: who opened it, its last commit, all its commits, and what was said of it, oldest first."""

    number: int
    author: str
    head: str
    commits: tuple[str, ...] = ()
    opinions: tuple[Opinion, ...] = ()
