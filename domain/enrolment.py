"""Enrolment: whose name may be registered, and which two people may confirm that somebody lost their device.

Used by the registers of approvers in `blocks/` and by the command `slipway approver`.
"""

import re
from collections.abc import Sequence

from domain.errors import ConfigError, RefusedError
from domain.people import is_among
from domain.ports import Approver
from domain.roles import ADMINISTRATOR, Role, has_role, parse_role

CONFIRMERS = 2
_NAME = re.compile(r"[^\W_][\w .@'-]{0,79}")


def explain_taken(name: str) -> str:
    """Say that a name is enrolled already, and what to do."""
    return (
        f"'{name}' is enrolled already. Run `slipway approver rotate {name}` for a new seed, "
        f"`slipway approver recover {name}` where the device is lost, or `slipway approver revoke {name}`."
    )


def explain_nobody(name: str, known: Sequence[Approver]) -> str:
    """Say that nobody of a name is enrolled, and who is."""
    names = ", ".join(approver.name for approver in known) or "nobody yet"
    return f"Nobody named '{name}' is enrolled. Enrolled: {names}."


def check_enrolment(approver: Approver, others: Sequence[Approver]) -> None:
    """Refuse a name that is none, or a person who is enrolled already under another name.

    Two names for one person would make two people of them where two have to confirm.

    Raises: ConfigError that says what to change.
    """
    if not _NAME.fullmatch(approver.name):
        raise ConfigError(
            f"'{approver.name[:80]}' is no name. Use up to 80 letters, digits, spaces and . _ - @ ' signs, "
            "a letter or digit first."
        )
    if not approver.roles:
        raise ConfigError(f"'{approver.name}' has no role. Give at least one with --role.")
    for text in approver.roles:
        parse_role(text)
    for other in others:
        if other.name != approver.name and is_among(approver, (other.name, *other.logins)):
            raise ConfigError(
                f"'{approver.name}' and '{other.name}' have a name or log-in in common. Nobody is enrolled twice: use "
                f"`slipway approver roles {other.name} --login …`, or leave that log-in out."
            )


def refuse_confirmers(person: Approver, confirmers: Sequence[Approver]) -> None:
    """Refuse people who can't confirm together that `person` lost their device.

    Two different ones, neither of them the person, one of them an administrator wherever the person has a role.

    Raises: RefusedError.
    """
    names = {confirmer.name for confirmer in confirmers}
    if len(names) != CONFIRMERS or len(confirmers) != CONFIRMERS:
        raise RefusedError(f"A lost device is confirmed by {CONFIRMERS} different people. Name both with --by.")
    for confirmer in confirmers:
        if confirmer.name == person.name or is_among(person, (confirmer.name, *confirmer.logins)):
            raise RefusedError(f"'{confirmer.name}' can't confirm for themselves. Ask somebody else.")
        if not confirmer.roles:
            raise RefusedError(f"'{confirmer.name}' has no role. Ask an approver or an administrator.")
    if not any(_is_administrator_of(confirmer, person) for confirmer in confirmers):
        raise RefusedError(
            f"One of the two has to be an administrator wherever '{person.name}' has a role "
            f"({', '.join(person.roles) or 'none'}). Ask one."
        )


def _is_administrator_of(confirmer: Approver, person: Approver) -> bool:
    places = [parse_role(text) for text in person.roles]
    return all(has_role(confirmer.roles, Role(ADMINISTRATOR, one.application, one.environment)) for one in places)
