"""Take the stack down: people's runs first, then the servers, then whatever is left. State stays."""

import shutil
from contextlib import suppress

from blocks.installation import Installation
from blocks.processes import Member, end_all, stack_members, wait_gone
from blocks.supervisor import Supervisor
from deployments.stack.lock import exclusive
from deployments.stack.probes import WORKERS
from deployments.stack.progress import Progress
from domain.errors import InvariantError, TransientError

_RUN_GRACE_S = 15
_REST_GRACE_S = 10
_SUPERVISOR_LIMIT_S = 30

# One after another: nothing is taken away while somebody uses it.
_ORDER = (("keeper", "archiver", *WORKERS, "door"), ("prefect",), ("postgres", "s3"))


def take_down(installation: Installation, progress: Progress) -> None:
    """End every process of the stack, released services included; `slipway up` starts them again.

    Effect: may be repeated. Raises: InvariantError naming processes that remain.
    """
    with exclusive(installation.state):
        supervisor = Supervisor.of(installation)
        if supervisor.is_up():
            _stop_parts(supervisor, installation, progress)
        with progress.step("nothing is left") as notes:
            remaining = stack_members(installation.state)
            notes += [f"ended {member.describe()}" for member in remaining]
            end_all(remaining, grace_s=_REST_GRACE_S)
            if left := stack_members(installation.state):
                raise InvariantError(f"{_names(left)} still run. End them by hand: kill -9 <pid>.")
        _remove_sockets(installation)


def _stop_parts(supervisor: Supervisor, installation: Installation, progress: Progress) -> None:
    groups = supervisor.groups()
    with progress.step("workers, door and what they run"):
        _stop(supervisor, [group for group in _ORDER[0] if group in groups])
        # While the server still listens, so that each run is recorded as crashed and not as running for ever.
        end_all([one for one in stack_members(installation.state) if one.is_flow_run], grace_s=_RUN_GRACE_S)
    if "s3" in groups:
        supervisor.ask_stop("s3")  # it takes its time, more than ten seconds
    known = [group for phase in _ORDER for group in phase]
    with progress.step("released services and load balancers"):
        _stop(supervisor, [group for group in groups if group not in known])
    with progress.step("Prefect server, PostgreSQL, SeaweedFS"):
        for phase in _ORDER[1:]:
            _stop(supervisor, [group for group in phase if group in groups])
    with progress.step("supervisor"):
        _end_supervisor(supervisor)


def _stop(supervisor: Supervisor, groups: list[str]) -> None:
    """Stop groups side by side, then wait for each."""
    for group in groups:
        supervisor.ask_stop(group)
    for group in groups:
        supervisor.stop(group)


def _end_supervisor(supervisor: Supervisor) -> None:
    pid = supervisor.pid()
    supervisor.shutdown()
    if not wait_gone(pid, limit_s=_SUPERVISOR_LIMIT_S):
        raise TransientError(f"supervisor (pid {pid}) does not end. See {supervisor.log}.")


def _remove_sockets(installation: Installation) -> None:
    """Leave no folder of ours outside of the state; what is not ours in it stays."""
    sockets = installation.sockets
    for name in ("postgres", "s3"):
        shutil.rmtree(sockets / name, ignore_errors=True)
    with suppress(OSError):  # somebody else's files, or gone already
        for path in sockets.glob("supervisor.sock*"):
            path.unlink()
        sockets.rmdir()


def _names(members: list[Member]) -> str:
    return ", ".join(member.describe() for member in members)
