"""Roles: what an enrolled person may do, for which application and in which environment.

A role is written `approver`, `administrator:helpdesk` or `approver:helpdesk/production`; what is left out, or `*`,
means every one. Rows from before roles had places have none, and mean everywhere. Used by `domain/approval.py` and by
the command `slipway approver`.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from domain.errors import ConfigError

APPROVER = "approver"
ADMINISTRATOR = "administrator"
ROLES = (APPROVER, ADMINISTRATOR)
_PLACE = re.compile(r"\*|[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Role:
    """A role and its place. An empty application or environment means every one, those that come later too."""

    name: str
    application: str = ""
    environment: str = ""

    @property
    def text(self) -> str:
        """The role as it is kept, and as `parse_role` reads it."""
        if not self.application and not self.environment:
            return self.name
        place = f"{self.application or '*'}/{self.environment}" if self.environment else self.application
        return f"{self.name}:{place}"

    def covers(self, wanted: "Role") -> bool:
        """Whether who has this role has the wanted one too. An administrator has every role in the same place."""
        return (
            self.name in (wanted.name, ADMINISTRATOR)
            and self.application in ("", wanted.application)
            and self.environment in ("", wanted.environment)
        )


def parse_role(text: str) -> Role:
    """Read a role as it is kept. Raises: ConfigError that lists the names and the form."""
    name, colon, place = text.partition(":")
    application, _, environment = place.partition("/")
    if name not in ROLES:
        raise ConfigError(f"No role named '{name}'. Use one of: {', '.join(ROLES)}.")
    if colon and not all(_PLACE.fullmatch(part) for part in (application, environment or "*")):
        raise ConfigError(
            f"'{place}' is no place of a role. Write APPLICATION, APPLICATION/ENVIRONMENT or */ENVIRONMENT."
        )
    return Role(name, *("" if part == "*" else part for part in (application, environment)))


def has_role(roles: Collection[str], wanted: Role) -> bool:
    """Decide whether one of these roles covers the wanted one.

    A wanted role without an application or environment is one for all of them: an act that is felt everywhere takes a
    role everywhere.
    """
    return any(role.covers(wanted) for role in _readable(roles))


def _readable(roles: Collection[str]) -> Iterator[Role]:
    """Skip what no version of ours wrote: what can't be read gives no right."""
    for text in roles:
        try:
            yield parse_role(text)
        except ConfigError:
            continue


def spread_roles(
    names: Collection[str], applications: Collection[str], environments: Collection[str]
) -> tuple[str, ...]:
    """Write every role for every application and environment named; none named means every one."""
    return tuple(
        Role(name, application, environment).text
        for name in names
        for application in (applications or [""])
        for environment in (environments or [""])
    )
