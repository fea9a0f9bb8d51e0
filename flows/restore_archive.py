"""`restore_archive`: an administrator puts the rows of an archive back."""

from prefect import flow
from prefect.runtime import flow_run

from tasks.cleanup_approval import restore_rows


@flow(name="restore_archive", flow_run_name="{archive}", persist_result=True)
def restore_archive(
    application: str, archive: str, reason: str, administrator: str, code: str, environment: str = "production"
) -> dict[str, int]:
    """Put archived rows back into their tables, where no row of that key is there.

    Args:
        application: the registered application's name, or slipway for Slipway's own.
        archive: its prefix, as archive.written in the ledger has it.
        reason: why, for the record.
        administrator: your name, as enrolled, with the role administrator.
        code: six digits from your authenticator; a code counts once.
        environment: where; left as it is for slipway.
    """
    place = "" if application == "slipway" else environment
    return restore_rows(str(flow_run.id), application, place, archive, reason, administrator, code)
