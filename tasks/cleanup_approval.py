"""An administrator's word about clean-up: policies and plans approved, holds placed and lifted, archives put back.

Each is one task: the code is used up and the word written down together, and nothing else writes these entries.
"""

import json
from contextlib import ExitStack
from typing import Any

from blocks.world import open_world
from domain.archive import check_prefix, manifest_key
from domain.cleanup import APPROVED, WITHDRAWN, Plan, needs_word
from domain.cleanup_policy import OWN, HoldPart
from domain.errors import ConfigError, RefusedError
from domain.holds import HOLD_KINDS, LIFTED, PLACED, Hold, read_holds
from tasks.approval import authorise
from tasks.archive import partition_of, read_archive
from tasks.cleanup_policies import read_any, read_plans, subject_of
from tasks.recording import effect, effect_task, record

_HASH_DIGITS_MIN = 8


@effect_task
def approve_cleanup(
    run: str,
    application: str,
    environment: str,
    policy: str,
    hash: str,
    share_percent: float,
    reason: str,
    administrator: str,
    code: str,
) -> dict[str, Any]:
    """Approve a policy (standing) or one plan, by the hash that a report showed. Effect: entries.

    Raises: RefusedError where the hash is no longer what is there, the share was not named, or the person may not.
    """
    known = read_any(application, environment, policy)
    if len(hash) < _HASH_DIGITS_MIN:
        raise RefusedError(f"Give at least {_HASH_DIGITS_MIN} digits of the hash that the report of `cleanup` shows.")
    plan = _find_plan(application, environment, policy, known.hash, hash)
    if plan is not None and needs_word(plan.preview) and plan.preview.share_percent > share_percent:
        raise RefusedError(
            f"That plan deletes {plan.preview.share_percent} % of the table. If you mean it, say so: "
            f"share_percent = {plan.preview.share_percent}."
        )
    _need_leave(run, application, environment, "cleanup", administrator, code, reason)
    told = {
        "policy": policy,
        "policy_hash": known.hash,
        "plan_hash": plan.hash if plan else "",
        "share_percent": share_percent if plan else 0.0,
        "rows": plan.preview.rows if plan else 0,
        "caps": {"rows": known.rows_max, "share_percent": known.share_percent_max, "bytes": known.bytes_max},
        "reason": reason[:500],
    }
    record(subject_of(run, application, environment, actor=administrator), APPROVED, detail=policy, **told)
    return told


def _find_plan(application: str, environment: str, policy: str, policy_hash: str, hash: str) -> Plan | None:
    """The plan of that hash; None where the hash is the policy's own."""
    if policy_hash.startswith(hash):
        return None
    found = [plan for plan in read_plans(application, environment, policy) if plan.hash.startswith(hash)]
    if not found:
        raise RefusedError(
            f"No plan of '{policy}' begins with {hash}, and the policy's own hash is {policy_hash[:16]}: it was "
            "changed, or this is another's. Start `cleanup` as a dry run and take the hash from its report."
        )
    if found[0].policy_hash != policy_hash:
        raise RefusedError(
            f"Policy '{policy}' was changed since that plan. Start `cleanup` as a dry run for a new one."
        )
    return found[0]


@effect_task
def withdraw_approval(
    run: str, application: str, environment: str, policy: str, reason: str, administrator: str, code: str
) -> None:
    """End every approval of a policy, of its plans as well. Effect: entries."""
    _need_leave(run, application, environment, "cleanup", administrator, code, reason)
    subject = subject_of(run, application, environment, actor=administrator)
    record(subject, WITHDRAWN, detail=policy, policy=policy, reason=reason[:500])


@effect_task
def place_hold(
    run: str,
    application: str,
    environment: str,
    name: str,
    table: str,
    column: str,
    values: tuple[str, ...],
    reason: str,
    administrator: str,
    code: str,
) -> None:
    """Keep rows from every clean-up from now on. Effect: entries. Raises: RefusedError where the person may not."""
    part = HoldPart(column=column, values=values, reason=reason[:200])
    _need_leave(run, application, environment, "hold", administrator, code, reason)
    subject = subject_of(run, application, environment, actor=administrator)
    record(subject, PLACED, detail=name, **Hold(name, table, part).as_dict())


@effect_task
def lift_hold(
    run: str, application: str, environment: str, name: str, reason: str, administrator: str, code: str
) -> None:
    """Let rows of a hold expire again. Effect: entries. Raises: ConfigError that lists the holds there are."""
    entries = open_world().ledger.entries(
        kinds=HOLD_KINDS, application=application, environment=environment, limit=100_000
    )
    known = {hold.name: hold for hold in read_holds(entries)}
    if name not in known:
        raise ConfigError(f"There is no hold '{name}'. There are: {', '.join(known) or 'none'}.")
    _need_leave(run, application, environment, "hold", administrator, code, reason)
    subject = subject_of(run, application, environment, actor=administrator)
    record(subject, LIFTED, detail=name, hold=name, reason=reason[:500])


@effect_task
def restore_rows(
    run: str, application: str, environment: str, archive: str, reason: str, administrator: str, code: str
) -> dict[str, int]:
    """Put an archive's rows back where they are not there. Effect: rows; may be repeated, and adds nothing twice.

    Returns: rows by table.
    """
    world = open_world()
    prefix = check_prefix(archive, application=application, environment=environment)
    content = world.cleaning.archives.read(manifest_key(prefix))
    if content is None:
        raise ConfigError(
            f"There is no whole archive {prefix}. `slipway ledger show --kind archive.written` lists them."
        )
    _need_leave(run, application, environment, "restoration", administrator, code, reason)
    subject = subject_of(run, application, environment, actor=administrator)
    told: dict[str, Any]
    with ExitStack() as stack:
        told = stack.enter_context(effect(subject, "restoration", "completed", detail=prefix, prefix=prefix))
        folder = stack.enter_context(world.cleaning.folder())
        manifest = json.loads(content)
        tables, partition = read_archive(manifest, folder), partition_of(manifest)
        told["tables"] = world.cleaning.rows(application, environment).restore(tables, partition=partition)
    return dict(told["tables"])


def _need_leave(
    run: str, application: str, environment: str, act: str, administrator: str, code: str, reason: str
) -> None:
    """Use the code up. A task that was cut off behind it goes on: the ledger knows that this run was allowed."""
    if application != OWN:
        open_world().applications.get(application)
    if not reason.strip():
        raise RefusedError("This needs a reason. Say in one sentence why, and start it again.")
    known = open_world().ledger.entries(kinds=[f"{act}.authorised"], application=application, run=run, limit=1)
    if known:
        return
    if refusal := authorise.fn(run, application, environment, "", act, administrator, code, reason):
        raise RefusedError(f"Refused: {refusal}")
