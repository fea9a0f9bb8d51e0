"""`cleanup`: what has expired goes, within what somebody approved; everything else is counted and shown.

A run never waits for a person: what needs one is reported and told, and `cleanup_approval` answers. Each policy stands
for itself: one that does not fit its database holds up no other.
"""

from contextlib import nullcontext
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from domain.errors import InvariantError, RefusedError, SlipwayError
from tasks.archive import archive_batch, archive_partition, delete_archived, finish_archive, list_unfinished
from tasks.cleanup import (
    begin_cleanup,
    decide_cleanup,
    delete_stretch,
    drop_partition,
    is_applied,
    list_partitions,
    list_policies,
    plan_cleanup,
    prove_cleanup,
)
from tasks.cleanup_expectations import AFTER, BEFORE, judge_expectations
from tasks.cleanup_report import publish_cleanup, tell_waiting
from tasks.cleanup_things import is_thing, plan_things, remove_things
from tasks.lease import held_lease

_ROUNDS_MAX = 10_000


@flow(name="cleanup", flow_run_name="clean-up {application} {policy}", persist_result=True)
def cleanup(
    application: str = "", environment: str = "production", policy: str = "", dry_run: bool = True
) -> list[dict[str, Any]]:
    """Show what has expired, and delete what is approved.

    Args:
        application: one registered application, or slipway for Slipway's own; left empty, all of them.
        environment: whose databases.
        policy: one policy by its name; left empty, every one.
        dry_run: only count and show; nothing is deleted.
    """
    run = str(flow_run.id)
    outcomes = [_treat(run, one, dry_run=dry_run) for one in list_policies(run, application, environment, policy)]
    tell_waiting(run, outcomes)
    publish_cleanup(run, outcomes)
    failed = [f"{one['policy'] or one['application']}: {one['problem']}" for one in outcomes if one["problem"]]
    if failed:
        raise InvariantError(f"{len(failed)} of {len(outcomes)} policies did not end well. {'; '.join(failed)[:1500]}")
    return outcomes


def _treat(run: str, place: list[str], *, dry_run: bool) -> dict[str, Any]:
    """Take one policy as far as it may go, and say how far that was."""
    application, environment, name, problem = place
    outcome: dict[str, Any] = {"application": application, "environment": environment, "policy": name}
    outcome |= {"problem": problem, "course": "", "reasons": [], "plan": None, "done": None}
    if problem:
        return outcome
    lease = nullcontext() if dry_run else held_lease(f"cleanup:{application}:{environment}", owner=run)
    try:
        with lease:
            _judge_and_act(run, application, environment, name, outcome, dry_run=dry_run)
    except SlipwayError as exc:
        outcome["problem"] = str(exc)[:500]
    return outcome


def _judge_and_act(
    run: str, application: str, environment: str, name: str, outcome: dict[str, Any], *, dry_run: bool
) -> None:
    """Plan one policy, and carry the plan out where that is asked and allowed; `outcome` says how far it came."""
    of_things = is_thing(application, name)
    if not dry_run and not of_things:
        _finish_what_died(run, application, environment, name)
    plan_it = plan_things if of_things else plan_cleanup
    outcome["plan"] = plan = plan_it(run, application, environment, name)
    outcome["course"], outcome["reasons"], _ = decide_cleanup(application, environment, name, plan)
    if is_applied(outcome["course"]) and not dry_run:
        carry_out = _remove_things if of_things else _carry_out_as_expected
        outcome["done"] = done = carry_out(run, application, environment, name, plan)
        outcome["problem"] = "; ".join(f"not true any more: {one}" for one in done["failed"])


def _finish_what_died(run: str, application: str, environment: str, name: str) -> None:
    """Delete what a run that died had archived; where that is not allowed any more, its rows stay."""
    for prefix in list_unfinished(application, environment, name):
        try:
            finish_archive(run, application, environment, name, prefix)
        except RefusedError:
            continue


def _carry_out_as_expected(
    run: str, application: str, environment: str, name: str, plan: dict[str, Any]
) -> dict[str, Any]:
    """Carry a plan out where the data is as it must be, and look at it once more afterwards."""
    hash = str(plan["hash"])
    before = judge_expectations(run, application, environment, name, hash, BEFORE)
    if before["unmet"]:
        raise RefusedError(
            f"Nothing was deleted: the data is not as expected ({'; '.join(before['unmet'])[:300]}). Find out why; "
            "correct the data or the suite, then start `cleanup` again."
        )
    done = _carry_out(run, application, environment, name, plan)
    after = judge_expectations(run, application, environment, name, hash, AFTER)
    return {**done, "failed": [*done["failed"], *after["unmet"]]}


def _carry_out(run: str, application: str, environment: str, name: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Delete what a plan is about: whole partitions first, then batch by batch, archived before where that is asked."""
    hash, most = str(plan["hash"]), int(plan["preview"]["rows"])
    is_archived = begin_cleanup(run, application, environment, name, hash)
    rows = related = 0
    for partition in list_partitions(run, application, environment, name, hash):
        take = _archive_partition if is_archived else drop_partition
        rows += take(run, application, environment, name, hash, partition)
    after: tuple[str, ...] | None = None
    for number in range(1, _ROUNDS_MAX):
        left = most - rows
        if left <= 0:
            break
        step = _archive_step if is_archived else delete_stretch
        told = step(run, application, environment, name, hash, number, after, left)
        rows, related = rows + int(told["rows"]), related + int(told["related"])
        if told["last"] is None:
            break
        after = tuple(told["last"])
    return prove_cleanup(run, application, environment, name, hash, rows, related)


def _remove_things(run: str, application: str, environment: str, name: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Remove what is no row."""
    return remove_things(run, application, environment, name, str(plan["hash"]))


def _archive_partition(run: str, application: str, environment: str, name: str, hash: str, partition: str) -> int:
    """Archive a whole partition, then drop it; what changed meanwhile goes in batches. Returns the rows that went."""
    archived = archive_partition(run, application, environment, name, hash, partition)
    deleted = delete_archived(run, application, environment, name, hash, str(archived["prefix"]))
    return deleted["archived"] - deleted["left"]


def _archive_step(
    run: str,
    application: str,
    environment: str,
    name: str,
    hash: str,
    number: int,
    after: tuple[str, ...] | None,
    most: int,
) -> dict[str, Any]:
    """Archive the next rows, then delete exactly these."""
    archived = archive_batch(run, application, environment, name, hash, number, after, most)
    if not archived["rows"]:
        return {"rows": 0, "related": 0, "last": None}
    deleted = delete_archived(run, application, environment, name, hash, str(archived["prefix"]))
    # what a process that died had deleted counts as well: gone is what was archived, less what is left
    return {"rows": deleted["archived"] - deleted["left"], "related": deleted["related"], "last": archived["last"]}
