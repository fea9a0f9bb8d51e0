"""Answering a waiting run as a person does: through Prefect's API with the form's fields, or by hand in its UI.

Prefect answers a resume with 2xx whatever becomes of it, so the status in the answer is what counts.
"""

from dataclasses import dataclass
from typing import Protocol

from blocks.world import World
from deployments.demo.people import People
from deployments.demo.timeline import Timeline
from domain.errors import TransientError
from domain.ledger import Entry

UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Question:
    """A gate that waits for an answer: whose run, which gate, and where a person sees it."""

    run: str
    gate: str
    url: str

    @property
    def decision(self) -> str:
        """What the demo says: yes to a release; at one that could not be judged, watch it again."""
        return "wait" if self.gate.startswith(UNCLEAR) else "approve"


class Answerer(Protocol):
    """Gives an answer to a question, or leaves it to a person."""

    def answer(self, question: Question) -> bool:
        """Try; returns whether an answer was handed in (or is a person's affair now)."""
        ...


class ApiAnswerer:
    """Answers through Prefect's API, as `approver`, with a real one-time code."""

    def __init__(self, world: World, people: People, approver: str) -> None:
        self._world = world
        self._people = people
        self._approver = approver

    def answer(self, question: Question) -> bool:
        record = self._world.run_records.find(question.run)
        if record is None or record.state != "paused":
            return False
        code = self._people.next_code(self._approver)
        status, reason = _resume(
            question.run,
            {
                "decision": question.decision,
                "approver": self._approver,
                "code": code.digits,
                "comment": "looked at what differs and what was proven (the demo)",
            },
        )
        if status == "REJECT":
            raise TransientError(f"The form was not accepted: {reason}")
        return status == "ACCEPT"


class PersonAnswerer:
    """Leaves the answer to whoever sits there, and says how to give it."""

    def __init__(self, timeline: Timeline, approver: str) -> None:
        self._timeline = timeline
        self._approver = approver

    def answer(self, question: Question) -> bool:
        values = {"url": question.url, "approver": self._approver, "decision": question.decision}
        self._timeline.tell("by_hand", mark="wait", **values)
        return True


def read_question(entry: Entry) -> Question | None:
    """Take the question out of an entry: asked for the first time, or again after a refusal."""
    if entry.kind == "approval.requested":
        return Question(entry.event.run, str(entry.data["gate"]), str(entry.data["url"]))
    return None


def _resume(run: str, answer: dict[str, str]) -> tuple[str, str]:
    from uuid import UUID

    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        result = client.resume_flow_run(UUID(run), run_input=answer)
    return result.status.value, str(getattr(result.details, "reason", "") or "")
