"""What a forge shows beside a commit: one status for each stage of a delivery.

Contexts are `slipway/ci`, `slipway/test`, `slipway/staging`, `slipway/production`; the newest of a context counts.
Runs write down what a forge should show; the door, which has the tokens, sends it (`deployments/door/statuses.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from domain.ledger import Entry

CI: Final = "ci"
"""The stage that the general worker speaks for. What it writes about another stage counts for nothing."""

WANTED_KINDS: Final = ("ci.status_wanted", "cd.status_wanted")
ANSWERED_KINDS: Final = ("ci.status_sent", "ci.status_failed", "cd.status_sent", "cd.status_failed")
DELAYS_S: Final = (2.0, 5.0, 15.0, 60.0, 300.0, 900.0)
"""How long after each attempt the next one comes; after the last the status is given up."""

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


def status_kind(stage: str, verb: str) -> str:
    """The ledger's kind for a stage's status: `wanted`, `sent` or `failed`."""
    return f"{'ci' if stage == CI else 'cd'}.status_{verb}"


@dataclass(frozen=True, slots=True)
class WantedStatus:
    """A status that a run wants to be shown; `seq` is its entry's."""

    seq: int
    application: str
    commit: str
    run: str
    status: CommitStatus


def find_unanswered(entries: Iterable[Entry]) -> list[WantedStatus]:
    """Choose what is still to be sent: the newest of each commit and stage that was neither sent nor given up.

    Args:
        entries: of `WANTED_KINDS` and `ANSWERED_KINDS`, oldest first.
    """
    wanted: dict[tuple[str, str, str], WantedStatus] = {}
    answered: set[int] = set()
    for entry in entries:
        if entry.kind in ANSWERED_KINDS:
            answered.add(int(entry.data.get("wanted", 0)))
        elif one := _read_wanted(entry):
            wanted[one.application, one.commit, one.status.stage] = one
    return sorted((one for one in wanted.values() if one.seq not in answered), key=lambda one: one.seq)


def _read_wanted(entry: Entry) -> WantedStatus | None:
    data = entry.data
    stage = str(data.get("stage", ""))
    if entry.kind != status_kind(stage, "wanted"):
        return None
    status = CommitStatus(stage, data["state"], str(data["description"]), str(data.get("url", "")))
    return WantedStatus(entry.seq, entry.event.application, str(data["commit"]), entry.event.run, status)
