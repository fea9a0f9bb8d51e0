"""`unblock`: an administrator allows a blocked digest again, with a reason that stays in the ledger."""

from prefect import flow
from prefect.runtime import flow_run

from blocks.world import open_world
from domain.errors import RefusedError
from domain.release import short
from tasks.approval import authorise
from tasks.rollout import read_blocked, record_rollout


def _run_name() -> str:
    return f"{flow_run.parameters['application']} {short(str(flow_run.parameters['release']))}"


@flow(name="unblock", flow_run_name=_run_name, persist_result=True)
def unblock(application: str, release: str, reason: str, administrator: str, code: str) -> str:
    """Allow a blocked release to be delivered again.

    Args:
        application: the registered application's name.
        release: the blocked digest, 64 hexadecimal digits.
        reason: why it may be delivered again, for the record.
        administrator: your name, as enrolled, with the role administrator.
        code: six digits from your authenticator; a code counts once.
    """
    run = str(flow_run.id)
    open_world().applications.get(application)
    if not reason.strip():
        raise RefusedError("Unblocking needs a reason. Say in one sentence why, and start it again.")
    if release not in read_blocked(application):
        raise RefusedError(f"Release {short(release)} of '{application}' is not blocked. Nothing was changed.")
    refusal = authorise(run, application, "", release, "unblock", administrator, code, reason)
    if refusal:
        raise RefusedError(f"Unblocking is refused: {refusal}")
    record_rollout(run, application, "", release, "digest.unblocked", {"reason": reason[:500]}, "", administrator)
    return f"{short(release)} is not blocked any more"
