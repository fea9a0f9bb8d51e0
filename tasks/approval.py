"""Asking a person, and weighing what comes back.

The order of things is the flow's (`flows/asking.py`); the rules are `domain/approval.py`'s. Each verdict on an answer
is kept in a persisted task and in the ledger, because the flow runs again from its top when the code has long expired.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.world import open_world
from domain.application import FILE, parse_application
from domain.approval import Difference, Evidence, Shown, compare_configuration, judge_person
from domain.catalogue import say
from domain.delivery import Commit
from domain.ledger import Entry
from domain.ports import Approver
from domain.release import short
from domain.rollout import SETTLING_KINDS, live_release
from tasks.incident import notify
from tasks.instances import find_manifest
from tasks.recording import Subject, effect_task, reading_task, record

PROOF = "proof.given"


def read_settled(application: str, environment: str) -> list[Entry]:
    """Read the entries that say what an environment is wholly on, oldest first."""
    return open_world().ledger.entries(kinds=SETTLING_KINDS, application=application, environment=environment)


@reading_task
def read_live(application: str, environment: str) -> str:
    """Read which release an environment is wholly on; empty where none ever was."""
    return live_release(read_settled(application, environment))


@effect_task
def remember_live(run: str, application: str, environment: str, release: str, round_number: int) -> str:
    """Read once what is live and keep the answer: a flow that suspends runs again from its top. Effect: none."""
    return live_release(read_settled(application, environment))


@effect_task
def record_proof(
    run: str, application: str, environment: str, release: str, what: str, result: str, milliseconds: int
) -> None:
    """Write down one thing that was proven of a release in an environment. Effect: one entry."""
    subject = Subject(run, application, environment, "", release)
    record(subject, PROOF, detail=what, what=what, result=result, milliseconds=milliseconds)


@effect_task
def open_gate(run: str, application: str, environment: str, release: str, gate: str, limit_s: int, url: str) -> str:
    """Start a gate's clock and tell the approvers. Effect: one entry, one message. Returns the deadline (ISO 8601)."""
    deadline = datetime.now(UTC) + timedelta(seconds=limit_s)
    subject = Subject(run, application, environment, "", release)
    entry = record(subject, "approval.requested", detail=gate, gate=gate, deadline=deadline.isoformat(), url=url)
    kept = str(entry.data["deadline"])
    notify.fn(
        run,
        application,
        environment,
        release,
        "approval.waiting",
        {"release": short(release), "deadline": readable(kept), "url": url},
    )
    return kept


def readable(moment: str) -> str:
    """Write an ISO time as people read it."""
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@effect_task
def show_request(run: str, application: str, environment: str, release: str, gate: str, attempt: int) -> Shown:
    """Collect what an approver is to be shown, as it is now. Effect: none; kept, since the answer is bound to it."""
    return look_at_request(run, application, environment, release)


def look_at_request(run: str, application: str, environment: str, release: str) -> Shown:
    """Read everything that an approval binds: the release, what is live, what differs, what was proven."""
    world = open_world()
    manifest = find_manifest(application, release)
    live = live_release(read_settled(application, environment))
    live_manifest = find_manifest(application, live) if live else None
    pinned = world.ledger.entries(kinds=["release.pinned"], application=application, release=release, limit=1)[0]
    commits = world.sources.commits(
        application, base=live_manifest.commit if live_manifest else None, head=manifest.commit
    )
    known = set(live_manifest.migrations) if live_manifest else set[str]()
    return Shown(
        application=application,
        environment=environment,
        release=release,
        commit=manifest.commit,
        live=live,
        requester=str(pinned.data.get("requester", "")),
        commits=tuple(commits),
        configuration=_configuration_differences(application, release, live),
        migrations=tuple(name for name in manifest.migrations if name not in known),
        evidence=_evidence(run, application, release),
        image=manifest.image.digest if manifest.image else "",
    )


def _configuration_differences(application: str, release: str, live: str) -> tuple[Difference, ...]:
    files = [_configuration(application, digest) if digest else None for digest in (live, release)]
    return compare_configuration(files[0], files[1] or {})


def _configuration(application: str, release: str) -> dict[str, Any]:
    """Read a release's settings where it was prepared last before production: staging."""
    world = open_world()
    staging = world.environment("staging")
    target = world.target(staging.name, staging.primary.name)
    manifest = find_manifest(application, release)
    target.prepare(manifest)
    return parse_application(target.read_file(manifest, FILE)).model_dump(mode="json")


def _evidence(run: str, application: str, release: str) -> tuple[Evidence, ...]:
    entries = open_world().ledger.entries(kinds=[PROOF], application=application, release=release, run=run)
    return tuple(
        Evidence(
            environment=entry.event.environment,
            what=str(entry.data["what"]),
            result=str(entry.data["result"]),
            milliseconds=int(entry.data["milliseconds"]),
        )
        for entry in entries
    )


def requesters_of(shown: Shown, pinned_data: dict[str, Any]) -> set[str]:
    """Collect who asked for a release: the pusher by every name we know, and the authors of its commits."""
    names = {shown.requester, str(pinned_data.get("requester_email", ""))}
    return names | {name for commit in shown.commits for name in _author_names(commit)}


def _author_names(commit: Commit) -> tuple[str, str]:
    return commit.author, commit.author_email


@effect_task
def weigh_answer(
    run: str,
    application: str,
    environment: str,
    release: str,
    gate: str,
    attempt: int,
    shown_hash: str,
    answer: dict[str, str],
) -> dict[str, str]:
    """Decide whether an answer counts, use up its code, and write the verdict down.

    Args:
        shown_hash: what the form that was answered had shown.
        answer: `decision`, `approver`, `code`, `comment`; or `bypassed` or `malformed` with the detail.

    Returns: `outcome` (the decision, or `refused`), `approver`, `reason` (why it was refused, as people read it).
    """
    world = open_world()
    now = look_at_request(run, application, environment, release)
    pinned = world.ledger.entries(kinds=["release.pinned"], application=application, release=release, limit=1)[0]
    refusal = _refusal(answer, requesters_of(now, pinned.data))
    reason = _explain_refusal(refusal, answer, role="approver") if refusal else ""
    if not refusal and now.hash != shown_hash:
        reason = say("approval.refused_drift", language=world.language)
        refusal = "drift"
    approver = answer.get("approver", "")
    subject = Subject(run, application, environment, "", release, actor=approver or "unknown")
    common = {"gate": gate, "attempt": attempt, "shown_hash": shown_hash, "comment": answer.get("comment", "")[:500]}
    if refusal:
        record(subject, "approval.refused", detail=f"{gate}:{attempt}", **common, refusal=refusal, reason=reason)
        return {"outcome": "refused", "approver": approver, "reason": reason}
    kind = "approval.rejected" if answer["decision"] in ("reject", "rollback") else "approval.granted"
    record(subject, kind, detail=gate, **common, decision=answer["decision"])
    return {"outcome": answer["decision"], "approver": approver, "reason": answer.get("comment", "")}


def _refusal(answer: dict[str, str], requesters: set[str]) -> str:
    """Find the first reason against an answer; the code is used up only where nothing else is wrong."""
    for flaw in ("bypassed", "malformed"):
        if flaw in answer:
            return flaw
    approvers = open_world().approvers
    refusal = judge_person(approvers.get(answer["approver"]), role="approver", requesters=requesters)
    if refusal:
        return refusal
    status = approvers.use_code(answer["approver"], answer["code"])
    return "" if status == "ok" else status


def _explain_refusal(refusal: str, answer: dict[str, str], *, role: str) -> str:
    return say(
        f"approval.refused_{refusal}",
        language=open_world().language,
        approver=answer.get("approver", "")[:80],
        role=role,
        time=f"{datetime.now(UTC):%H:%M:%S}",
        detail=answer.get("malformed", ""),
    )


@effect_task
def authorise(
    run: str, application: str, environment: str, release: str, act: str, administrator: str, code: str, reason: str
) -> str:
    """Decide whether an administrator may do this now, use up the code, and write the verdict down.

    Args:
        act: `rollback` or `unblock`, the noun of the entry.

    Returns: an empty text where they may; else why not, as people read it.
    """
    world = open_world()
    subject = Subject(run, application, environment, "", release, actor=administrator[:80] or "unknown")
    person: Approver | None = world.approvers.get(administrator)
    refusal = judge_person(person, role="administrator", requesters=())
    if not refusal:
        status = world.approvers.use_code(administrator, code)
        refusal = None if status == "ok" else status
    if refusal:
        why = _explain_refusal(refusal, {"approver": administrator}, role="administrator")
        record(subject, f"{act}.refused", refusal=refusal, reason=reason[:500], why=why)
        return why
    record(subject, f"{act}.authorised", reason=reason[:500])
    return ""


@effect_task
def expire_gate(
    run: str, application: str, environment: str, release: str, gate: str, deadline: str, reason: str
) -> None:
    """Write down that nobody answered in time: silence is no. Effect: one entry, one message."""
    subject = Subject(run, application, environment, "", release)
    record(subject, "approval.expired", detail=gate, gate=gate, deadline=deadline, reason=reason)
    notify.fn(
        run,
        application,
        environment,
        release,
        "approval.expired",
        {"release": short(release), "deadline": readable(deadline)},
    )
