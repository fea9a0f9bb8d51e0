"""What the ledger knows of the backups, against what the store holds: whoever writes there can't make that true.

An object, its manifest and every hash beside it can be written anew by the one key that writes backups. The hash that
the ledger keeps can't. Called by `restore_drill`, step 1.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.backup import Backup
from domain.drill import Check, Chosen, Objectives, failed, passed, unavailable


@dataclass(frozen=True, slots=True)
class Recorded:
    """A backup as the ledger has it: when it was recorded, and the hash of its manifest; empty where it kept none."""

    at: datetime
    manifest_sha256: str


def check_records(
    chosen: Chosen,
    stored: Sequence[Backup],
    recorded: Mapping[str, Recorded],
    expired: Collection[str],
    *,
    now: datetime,
    objectives: Objectives,
) -> list[Check]:
    """Whether the backups are those that the ledger knows, and all that it knows of the window are there.

    Args:
        stored: what the store holds, unfinished ones too.
        recorded: every backup that the ledger knows of this engine, by id.
        expired: the ids of those that were removed on purpose, or were to be.
    """
    if not recorded:
        return [unavailable("choice.ledger", "the ledger knows of no backup; the store is all there is to believe")]
    checks = [_check_chosen(one, recorded, now=now, objectives=objectives) for one in chosen.backups]
    begin = now - timedelta(days=objectives.window_days)
    done = {one.id for one in stored if one.is_done}
    lost = sorted(id for id, one in recorded.items() if one.at >= begin and id not in done and id not in expired)
    if lost:
        checks.append(failed("choice.kept", "choice_lost", backups=", ".join(lost[:5]), count=len(lost)))
    else:
        checks.append(passed("choice.kept", "choice_kept", count=sum(one.at >= begin for one in recorded.values())))
    return checks


def _check_chosen(backup: Backup, recorded: Mapping[str, Recorded], *, now: datetime, objectives: Objectives) -> Check:
    known = recorded.get(backup.id)
    if known is None:
        if 0 <= (now - (backup.ended_at or backup.begun_at)).total_seconds() < objectives.unfinished_s:
            return unavailable("choice.recorded", f"the ledger does not know {backup.id} yet: run the drill again")
        return failed("choice.recorded", "choice_unknown", backup=backup.id)
    if known.manifest_sha256 and known.manifest_sha256 != backup.manifest_sha256:
        return failed("choice.recorded", "choice_exchanged", backup=backup.id)
    if not known.manifest_sha256:
        return unavailable("choice.recorded", f"the ledger kept no hash of {backup.id}")
    return passed("choice.recorded", "choice_recorded", backup=backup.id)
