"""How far a machine keeps other people's code apart from Slipway and from one another: one fact, and how it is told.

Found by `blocks/isolation.py`, by trying. Shown on the first screen of a `ci` run, in an approval's form and by
`slipway doctor`, wherever something is missing.
"""

from dataclasses import dataclass
from typing import Any

from domain.catalogue import Language, say

KINDS = ("user", "filesystem", "processes", "network")


@dataclass(frozen=True, slots=True)
class Isolation:
    """What separates other people's code from ours on this machine.

    Attributes:
        user: it runs as another user than Slipway.
        filesystem: it sees the system, read-only, and its own work folder; nothing else.
        processes: it sees its own processes and no other's; own IPC and host name.
        network: checks and builds have a network of their own, with a way to the package registry only.
        reason: why something is missing, and what to do; empty where nothing is.
    """

    user: bool
    filesystem: bool
    processes: bool
    network: bool
    reason: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """What this machine can't do. Another user is not missed where the file system and processes are apart."""
        lacking = [kind for kind in ("filesystem", "processes", "network") if not getattr(self, kind)]
        return tuple(lacking if not lacking or self.user else ["user", *lacking])

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values for the ledger."""
        return {**{kind: getattr(self, kind) for kind in KINDS}, "reason": self.reason}


def read_isolation(value: dict[str, Any]) -> Isolation:
    """Read what `as_dict` wrote; what a record does not hold was not isolated."""
    return Isolation(*(bool(value.get(kind)) for kind in KINDS), reason=str(value.get("reason", "")))


def explain_isolation(isolation: Isolation, *, language: Language) -> str:
    """Say in one or two lines what this machine can't keep apart, and why; empty where nothing is missing."""
    if not isolation.missing:
        return ""
    kinds = ", ".join(say(f"isolation.{kind}", language=language) for kind in isolation.missing)
    return say("isolation.missing", language=language, kinds=kinds, reason=isolation.reason)
