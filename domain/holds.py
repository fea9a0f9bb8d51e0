"""Legal holds of the ledger: rows that nobody may clean up, placed and lifted by an administrator.

Besides the holds that an application's own file names. A hold is the ledger's, so it counts at once, for whichever
release is live.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from domain.cleanup_policy import CleanupPart, HoldPart, full_name
from domain.errors import ConfigError
from domain.ledger import Entry

PLACED, LIFTED = "hold.placed", "hold.lifted"
HOLD_KINDS = (PLACED, LIFTED)


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold by its name, on a table of one application's database in one environment."""

    name: str
    table: str
    part: HoldPart

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, for the ledger."""
        return {"hold": self.name, "table": self.table, **self.part.model_dump(mode="json")}


def read_holds(entries: Sequence[Entry]) -> list[Hold]:
    """The holds that are in force, oldest first.

    Args:
        entries: those of `HOLD_KINDS` of one application and environment, oldest first.
    """
    found: dict[str, Hold] = {}
    for entry in entries:
        told = dict(entry.data)
        name = str(told.pop("hold"))
        found.pop(name, None)
        if entry.kind == PLACED:
            table = str(told.pop("table"))
            part = HoldPart(column=told["column"], values=tuple(told["values"]), reason=told["reason"])
            found[name] = Hold(name, table, part)
    return list(found.values())


def holds_for(policy: CleanupPart, holds: Sequence[Hold]) -> tuple[HoldPart, ...]:
    """The holds that a policy has to keep.

    Raises: ConfigError where one is on a table whose rows go along with others: it would not be kept.
    """
    along = {full_name(name) for name in policy.children}
    for hold in holds:
        if full_name(hold.table) in along:
            raise ConfigError(
                f"Hold '{hold.name}' is on {hold.table}, whose rows policy '{policy.name}' deletes along with those of "
                f"{policy.table}. Place a hold on {policy.table} as well, then lift this one."
            )
    return tuple(hold.part for hold in holds if full_name(hold.table) == full_name(policy.table))
