"""Asking a person about a size or a policy, and weighing the answer: the same authentication as a release's approval.

`noun` names the entries: `scale.requested`, `.granted`, `.rejected`, `.refused`, `.expired`. The order of things is
`flows/asking.py`'s.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.world import open_world
from domain.catalogue import say
from domain.roles import APPROVER
from domain.scaling import QUESTION_CLOSING, QUESTION_OPENING, OpenQuestion, open_questions
from tasks.approval import readable, weigh_person
from tasks.incident import notify
from tasks.recording import Subject, effect_task, reading_task, record


@effect_task
def open_question(run: str, application: str, environment: str, noun: str, gate: str, limit_s: int, url: str) -> str:
    """Start a gate's clock and tell the approvers. Effect: one entry, one message. Returns the deadline (ISO 8601)."""
    deadline = (datetime.now(UTC) + timedelta(seconds=limit_s)).isoformat()
    subject = Subject(run, application, environment)
    entry = record(subject, f"{noun}.requested", detail=gate, gate=gate, deadline=deadline, url=url)
    kept = str(entry.data["deadline"])
    notify.fn(run, application, environment, "", f"{noun}.waiting", {"deadline": readable(kept), "url": url})
    return kept


def weigh_question(
    subject: Subject,
    *,
    noun: str,
    gate: str,
    attempt: int,
    hashes: tuple[str, str],
    answer: dict[str, str],
    requester: str,
    data: dict[str, Any],
) -> dict[str, str]:
    """Decide whether an answer counts, use up its code, and write the verdict down; returns as `weigh_answer`.

    Args:
        hashes: of what was shown, and of the same as it is now.
        data: what a yes allows, for its entry.
    """
    world = open_world()
    refusal, reason = weigh_person(subject, answer, role=APPROVER, requesters={requester} - {""})
    if not refusal and hashes[0] != hashes[1]:
        refusal, reason = "drift", say(f"{noun}.refused_drift", language=world.language)
    common = {
        "gate": gate,
        "attempt": attempt,
        "shown_hash": hashes[0],
        "comment": answer.get("comment", "")[:500],
    }
    approver = answer.get("approver", "")
    if refusal:
        record(subject, f"{noun}.refused", detail=f"{gate}:{attempt}", **common, refusal=refusal, reason=reason)
        return {"outcome": "refused", "approver": approver, "reason": reason}
    kind = "granted" if answer["decision"] == "approve" else "rejected"
    record(subject, f"{noun}.{kind}", detail=gate, **common, decision=answer["decision"], **data)
    return {"outcome": answer["decision"], "approver": approver, "reason": answer.get("comment", "")}


@effect_task
def expire_question(run: str, application: str, environment: str, noun: str, gate: str, reason: str) -> None:
    """Write down that nobody answered in time: silence is no. Effect: one entry."""
    record(Subject(run, application, environment), f"{noun}.expired", detail=gate, gate=gate, reason=reason)


@reading_task
def list_open_questions() -> list[OpenQuestion]:
    """List the gates about sizes and policies that were asked and have no outcome."""
    kinds = (*QUESTION_OPENING, *QUESTION_CLOSING)
    return open_questions(open_world().ledger.entries(kinds=kinds, limit=100_000))
