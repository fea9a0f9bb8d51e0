"""What a forge shows beside a commit: one status for each stage of a delivery.

Contexts are `slipway/ci`, `slipway/test`, `slipway/staging`, `slipway/production`; the newest of a context counts.
"""

from dataclasses import dataclass
from typing import Literal

State = Literal["pending", "success", "failure", "error"]

DESCRIPTION_MAX = 140
"""What GitHub takes; Gitea takes more."""


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """One status. `target_url` is where a person sees the run."""

    stage: str
    state: State
    description: str
    target_url: str = ""

    @property
    def context(self) -> str:
        return f"slipway/{self.stage}"

    def as_body(self) -> dict[str, str]:
        """What both forges take: a description on one line, cut to the limit."""
        text = " ".join(self.description.split())
        cut = text if len(text) <= DESCRIPTION_MAX else f"{text[: DESCRIPTION_MAX - 1]}…"
        body = {"state": self.state, "context": self.context, "description": cut}
        return body | ({"target_url": self.target_url} if self.target_url else {})


def status_of_end(outcome: str) -> State:
    """The state that stands for how a stage ended: an outcome of `cd`, or a word of `ci`."""
    if outcome == "completed":
        return "success"
    return "error" if outcome in ("superseded", "expired", "refused") else "failure"
