"""Enrolling, changing, revoking and recovering people, each written to the ledger and told; for `slipway approver`.

A seed is returned to be shown once; it is in no entry, no message and no log.
"""

import getpass
from collections.abc import Sequence

from blocks.world import World
from domain.catalogue import say
from domain.enrolment import check_enrolment, explain_nobody, refuse_confirmers
from domain.errors import ConfigError, RefusedError, SlipwayError
from domain.ledger import Event
from domain.ports import Approver
from domain.roles import Role, parse_role


def enrol(world: World, approver: Approver) -> str:
    """Enrol a new person; returns the provisioning URI. Effect: the register, entries, one message.

    Raises: ConfigError where name, roles or log-ins are wrong or taken.
    """
    known = world.approvers.list()
    check_enrolment(approver, known)
    _check_places(world, approver)
    _begin(world, "enrol", approver.name)
    uri = world.approvers.enrol(approver)
    _record(world, "enrolled", approver)
    return uri


def change(world: World, approver: Approver) -> None:
    """Replace a person's roles and log-ins, at once. Effect: the register, entries, one message.

    Raises: ConfigError where the name is unknown, or roles and log-ins are wrong or taken.
    """
    before = find(world, approver.name)
    check_enrolment(approver, world.approvers.list())
    _check_places(world, approver)
    _begin(world, "change", approver.name)
    world.approvers.change(approver)
    gone = sorted(set(before.roles) - set(approver.roles)) + sorted(set(before.logins) - set(approver.logins))
    _record(world, "roles_changed", approver, removed=gone)


def revoke(world: World, name: str, *, reason: str) -> None:
    """End a person's right to decide, at once and for gates that wait. Effect: the register, entries, one message.

    Raises: ConfigError where nobody has that name; RefusedError without a reason.
    """
    approver = find(world, name)
    if not reason.strip():
        raise RefusedError("Revoking needs a reason. Say in one sentence why, with --reason.")
    _begin(world, "revoke", name)
    world.approvers.revoke(name)
    _record(world, "revoked", approver, reason=reason[:500])


def rotate(world: World, name: str, *, code: str) -> str:
    """Give a person a new seed, proven with a code of the old one, which is worth nothing afterwards; returns the URI.

    Raises: ConfigError where nobody has that name; RefusedError where the code does not count.
    """
    approver = find(world, name)
    refusal = _prove(name, code)
    if refusal:
        raise RefusedError(f"No new seed for '{name}': {refusal}")
    _begin(world, "rotate", name)
    uri = world.approvers.renew(name)
    _record(world, "rotated", approver, actor=name)
    return uri


def recover(world: World, name: str, *, confirmed: Sequence[tuple[str, str]]) -> str:
    """Give a person who lost their device a new seed, because two others confirm it; returns the URI.

    Args:
        confirmed: name and one-time code of each of the two.

    Effect: both codes are used up, whatever comes of it; the old seed and a lock end; entries with both names, one
    message. Raises: ConfigError for an unknown name, RefusedError where those two can't confirm or a code is wrong.
    """
    person = find(world, name)
    by = [confirmer for confirmer, _ in confirmed]
    try:
        refuse_confirmers(person, [find(world, confirmer) for confirmer in by])
        # every code is taken before any is judged: one that was given is used up
        for refusal in [_prove(confirmer, code) for confirmer, code in confirmed]:
            if refusal:
                raise RefusedError(refusal)
    except RefusedError as exc:
        data = {"name": name, "confirmed_by": by, "reason": str(exc)[:500]}
        world.ledger.append(Event("recovery.refused", actor=getpass.getuser(), data=data))
        raise
    data = {"name": name, "confirmed_by": by}
    world.ledger.append(Event("recovery.authorised", actor=" and ".join(by), data=data))
    uri = world.approvers.renew(name)
    _record(world, "recovered", person, actor=" and ".join(by), confirmed_by=by)
    return uri


def find(world: World, name: str) -> Approver:
    """Find an enrolled person. Raises: ConfigError that lists who is enrolled."""
    approver = world.approvers.get(name)
    if approver is None:
        raise ConfigError(explain_nobody(name, world.approvers.list()))
    return approver


def describe_place(role: Role) -> str:
    """Say where a role holds, for a table."""
    if not role.application and not role.environment:
        return "everywhere"
    return f"{role.application or 'every application'}, {role.environment or 'every environment'}"


def _prove(name: str, code: str) -> str:
    """Take a code; why it does not count, or an empty text."""
    # Not at the top: it brings Prefect, which reads its settings once, before the first `slipway up` has made them.
    from tasks.codes import explain_code, take_code
    from tasks.recording import Subject

    use = take_code(Subject("", "", actor=name), name, code)
    return "" if use.is_ok else explain_code(use, name)


def _check_places(world: World, approver: Approver) -> None:
    """Raises: ConfigError for an application or an environment that there is not, with the names there are."""
    for role in (parse_role(text) for text in approver.roles):
        if role.application:
            world.applications.get(role.application)
        if role.environment:
            world.environment(role.environment)


def _begin(world: World, act: str, name: str) -> None:
    """Append the intent: a process that dies now leaves a trace of what it was at."""
    world.ledger.append(Event("approver.begun", actor=getpass.getuser(), data={"name": name, "act": act}))


def _record(world: World, done: str, approver: Approver, *, actor: str = "", **facts: object) -> None:
    """Append the entry and tell people. A message that can't be sent is recorded and stops nothing."""
    by = actor or getpass.getuser()
    data = {"name": approver.name, "roles": list(approver.roles), "logins": list(approver.logins), **facts}
    world.ledger.append(Event(f"approver.{done}", actor=by, data=data))
    language = world.language
    values = {
        "name": approver.name,
        "roles": ", ".join(approver.roles),
        "actor": by,
        "what": say(f"approver.{done}", language=language),
        "detail": str(facts.get("reason", "")),
    }
    title = say("approver.changed_subject", language=language, **values)
    try:
        world.notifier.send(title, say("approver.changed_body", language=language, **values))
    except SlipwayError as exc:
        data = {"text": "approver.changed", "title": title, "error": str(exc)[:256]}
        world.ledger.append(Event("notification.failed", data=data))
