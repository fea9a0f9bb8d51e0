"""Asking a person, and weighing what comes back.

The order of things is the flow's (`flows/asking.py`); the rules are `domain/approval.py`'s. Each verdict on an answer
is kept in a persisted task and in the ledger, because the flow runs again from its top when the code has long expired.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.world import open_world
from domain.application import FILE, parse_application
from domain.approval import Difference, Evidence, Shown, compare_configuration, judge_person
from domain.canonical import digest_of
from domain.catalogue import say
from domain.delivery import Commit
from domain.isolation import explain_isolation, read_isolation
from domain.ledger import Entry
from domain.people import names_of
from domain.pushes import PUSH_KINDS, last_pusher, pushers_of
from domain.release import short
from domain.revision import name_revision, release_of, settings_of
from domain.roles import ADMINISTRATOR, APPROVER
from domain.rollout import SETTLING_KINDS, live_release
from domain.settings import SettingsVersion, compare_settings
from tasks.codes import explain_code, take_code
from tasks.incident import notify
from tasks.instances import find_manifest
from tasks.recording import Subject, effect_task, reading_task, record
from tasks.settings import read_settings

PROOF = "proof.given"
COMMITS_MAX = 2000
"""How many commits between two releases an approval lists; whoever wrote more of them counts all the same."""


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
    """Read everything that an approval binds: the release, what is live, what differs, what was proven, who asked."""
    world = open_world()
    manifest = find_manifest(application, release)
    live = live_release(read_settled(application, environment))
    live_manifest = find_manifest(application, live) if live else None
    base = live_manifest.commit if live_manifest else None
    commits = world.sources.commits(application, base=base, head=manifest.commit, limit=COMMITS_MAX)
    known = set(live_manifest.migrations) if live_manifest else set[str]()
    files = [_configuration(application, digest) if digest else None for digest in (live, release)]
    settings = _settings_shown(application, environment, release)
    requester, names = _requesters(application, release, live, base, commits)
    return Shown(
        application=application,
        environment=environment,
        release=manifest.digest,
        commit=manifest.commit,
        live=live,
        requester=requester,
        commits=tuple(commits),
        configuration=compare_configuration(files[0], files[1] or {}) + _settings_differences(settings, live),
        migrations=tuple(name for name in manifest.migrations if name not in known),
        evidence=_evidence(run, application, release),
        image=manifest.image.digest if manifest.image else "",
        requesters=tuple(sorted(names | _settings_authors(settings, live))),
        is_push_signed=bool(last_pusher(_pushes(application), manifest.commit)),
        configuration_hash=digest_of({"file": files[1], "settings": dict(settings.config)}),
        settings_version=settings.version,
        secrets=settings.references,
        isolation=_isolation_shown(application, release),
        is_unrelated=base not in (None, manifest.commit)
        and not world.sources.is_ancestor(application, str(base), manifest.commit),
    )


def _isolation_shown(application: str, release: str) -> str:
    """What could not be isolated when the release was built, or that nobody looked; empty where all was."""
    known = _find_pinned(application, release).data.get("isolation")
    language = open_world().language
    return (
        explain_isolation(read_isolation(known), language=language)
        if known
        else say("isolation.unknown", language=language)
    )


def _find_pinned(application: str, release: str) -> Entry:
    digest = release_of(release)
    return open_world().ledger.entries(kinds=["release.pinned"], application=application, release=digest, limit=1)[0]


def _settings_shown(application: str, environment: str, release: str) -> SettingsVersion:
    """The settings that an answer is about: the newest ones, or those with which a rollout is under way."""
    version = settings_of(release)
    return (
        open_world().settings.get(application, environment, version)
        if version
        else read_settings(application, environment)
    )


def _settings_differences(settings: SettingsVersion, live: str) -> tuple[Difference, ...]:
    """List what the newest settings of the environment would change; secrets by their versions only."""
    before = open_world().settings.get(settings.application, settings.environment, settings_of(live))
    return tuple(Difference(name, old, new) for name, (old, new) in compare_settings(before, settings).items())


def _configuration(application: str, release: str) -> dict[str, Any]:
    """Read a release's settings where it was prepared last before production: staging."""
    world = open_world()
    staging = world.environment("staging")
    target = world.target(staging.name, staging.primary.name)
    manifest = find_manifest(application, release)
    target.prepare(manifest)
    return parse_application(target.read_file(manifest, FILE)).model_dump(mode="json")


def _evidence(run: str, application: str, release: str) -> tuple[Evidence, ...]:
    entries = open_world().ledger.entries(kinds=[PROOF], application=application, release=release_of(release), run=run)
    return tuple(
        Evidence(
            environment=entry.event.environment,
            what=str(entry.data["what"]),
            result=str(entry.data["result"]),
            milliseconds=int(entry.data["milliseconds"]),
        )
        for entry in entries
    )


def _settings_authors(settings: SettingsVersion, live: str) -> frozenset[str]:
    """Who made the versions of the settings that would go live: a change of settings is a request like any other."""
    history = open_world().settings.history(settings.application, settings.environment)
    made = (version for version in history if settings_of(live) < version.version <= settings.version)
    return names_of([version.actor for version in made])


def _pushes(application: str) -> list[Entry]:
    return open_world().ledger.entries(kinds=PUSH_KINDS, application=application, limit=100_000)


def _requesters(
    application: str, release: str, live: str, base: str | None, commits: Sequence[Commit]
) -> tuple[str, frozenset[str]]:
    """Say who asked for a release, and every name of all who count as requesters.

    Who pushed is taken from the ledger, where the door wrote it from the signed body; everybody who wrote or committed
    something in the range counts too. What the run's parameters said counts besides: it can only add somebody.
    """
    world = open_world()
    pinned = _find_pinned(application, release)
    head = str(pinned.data["manifest"]["commit"])
    claimed = [str(pinned.data.get(key) or "") for key in ("requester", "requester_email")]
    pushes = _pushes(application)
    # The same bytes with other settings: nobody asks for what is live already. The same commit built once more may have
    # become something else, by the hand of whoever wrote its build step.
    if release_of(live) == release_of(release):
        return last_pusher(pushes, head) or claimed[0], frozenset()
    # more commits than we list: then everybody who ever pushed counts
    listed = {head, *(commit.sha for commit in commits)} if len(commits) < COMMITS_MAX else None
    wrote = world.sources.people(application, base=base, head=head)
    own = frozenset(
        name for commit in world.sources.commits(application, base=None, head=head, limit=1) for name in commit.people
    )
    names = names_of([*claimed, *wrote, *own, *pushers_of(pushes, listed)])
    return last_pusher(pushes, head) or claimed[0], names


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

    Returns: `outcome` (the decision, or `refused`), `approver`, `reason` (why it was refused, as people read it), and
    for a decision the version of the `settings` that it is about.
    """
    world = open_world()
    now = look_at_request(run, application, environment, release)
    approver = answer.get("approver", "")
    subject = Subject(run, application, environment, "", release, actor=approver or "unknown")
    refusal, reason = weigh_person(subject, answer, role=APPROVER, requesters=set(now.requesters))
    if not refusal and now.hash != shown_hash:
        reason = say("approval.refused_drift", language=world.language)
        refusal = "drift"
    common = {"gate": gate, "attempt": attempt, "shown_hash": shown_hash, "comment": answer.get("comment", "")[:500]}
    if refusal:
        record(subject, "approval.refused", detail=f"{gate}:{attempt}", **common, refusal=refusal, reason=reason)
        return {"outcome": "refused", "approver": approver, "reason": reason}
    subject = replace(subject, release=name_revision(release, now.settings_version))
    kind = "approval.rejected" if answer["decision"] in ("reject", "rollback") else "approval.granted"
    record(subject, kind, detail=gate, **common, decision=answer["decision"])
    return {
        "outcome": answer["decision"],
        "approver": approver,
        "reason": answer.get("comment", ""),
        "settings": str(now.settings_version),
    }


def weigh_person(subject: Subject, answer: dict[str, str], *, role: str, requesters: set[str]) -> tuple[str, str]:
    """Find the first reason against an answer, and how people read it; both empty where there is none.

    The code is taken first, so that it is used up (and a wrong one counted) whatever else is wrong.
    """
    for flaw in ("bypassed", "malformed"):
        if flaw in answer:
            return flaw, _explain_refusal(flaw, subject, answer, role=role)
    name = answer["approver"]
    use = take_code(subject, name, answer["code"])
    if not use.is_ok:
        return use.status, explain_code(use, name)
    refusal = judge_person(
        open_world().approvers.get(name),
        role=role,
        requesters=requesters,
        application=subject.application,
        environment=subject.environment,
    )
    return (refusal, _explain_refusal(refusal, subject, answer, role=role)) if refusal else ("", "")


def _explain_refusal(refusal: str, subject: Subject, answer: dict[str, str], *, role: str) -> str:
    language = open_world().language
    everywhere = say("approval.everywhere", language=language)
    return say(
        f"approval.refused_{refusal}",
        language=language,
        approver=answer.get("approver", "")[:80],
        role=role,
        place=f"{subject.application or everywhere}, {subject.environment or everywhere}",
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
    subject = Subject(run, application, environment, "", release, actor=administrator[:80] or "unknown")
    answer = {"approver": administrator, "code": code}
    refusal, why = weigh_person(subject, answer, role=ADMINISTRATOR, requesters=set())
    if refusal:
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
