"""`legal_hold`: an administrator keeps rows from every clean-up, or lets them expire again."""

from prefect import flow
from prefect.runtime import flow_run

from domain.errors import RefusedError
from tasks.cleanup_approval import lift_hold, place_hold


@flow(name="legal_hold", flow_run_name="{name} of {application}", persist_result=True)
def legal_hold(
    application: str,
    name: str,
    reason: str,
    administrator: str,
    code: str,
    table: str = "",
    column: str = "",
    values: list[str] | None = None,
    environment: str = "production",
    lift: bool = False,
) -> str:
    """Place a legal hold on rows, at once and for every policy, or lift one.

    Args:
        application: the registered application's name, or slipway for Slipway's own.
        name: the hold's name, such as the file number; it is lifted by it.
        reason: why, for the record.
        administrator: your name, as enrolled, with the role administrator.
        code: six digits from your authenticator; a code counts once.
        table: the table of the policies that have to keep the rows.
        column: rows are held by this column of it.
        values: rows with one of these values stay.
        environment: where; left as it is for slipway.
        lift: lift the hold of that name instead.
    """
    run = str(flow_run.id)
    place = "" if application == "slipway" else environment
    if lift:
        lift_hold(run, application, place, name, reason, administrator, code)
        return f"hold {name} is lifted"
    if not (table and column and values):
        raise RefusedError("A hold needs table, column and values. Name them, and start it again with a new code.")
    place_hold(run, application, place, name, table, column, tuple(values), reason, administrator, code)
    return f"hold {name} is in force"
