"""`cleanup_approval`: an administrator lets a clean-up policy, or one plan of it, be carried out."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from tasks.cleanup_approval import approve_cleanup, withdraw_approval


@flow(name="cleanup_approval", flow_run_name="{policy} of {application}", persist_result=True)
def cleanup_approval(
    application: str,
    policy: str,
    reason: str,
    administrator: str,
    code: str,
    hash: str = "",
    environment: str = "production",
    share_percent: float = 0.0,
    withdraw: bool = False,
) -> dict[str, Any]:
    """Approve a clean-up policy or one plan by its hash, or take every approval of the policy back.

    Args:
        application: the registered application's name, or slipway for Slipway's own.
        policy: the policy's name.
        reason: why, for the record.
        administrator: your name, as enrolled, with the role administrator.
        code: six digits from your authenticator; a code counts once.
        hash: from the report of cleanup, 8 digits or more; the policy's own for every run within its caps, or a plan's.
        environment: where; left as it is for slipway.
        share_percent: of a plan above 30 % of its table, that share, as your explicit word.
        withdraw: take back what was approved of this policy.
    """
    run = str(flow_run.id)
    place = "" if application == "slipway" else environment
    if withdraw:
        withdraw_approval(run, application, place, policy, reason, administrator, code)
        return {"withdrawn": policy}
    return approve_cleanup(run, application, place, policy, hash, share_percent, reason, administrator, code)
