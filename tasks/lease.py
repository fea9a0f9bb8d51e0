"""One rollout at a time in an environment: a lease in PostgreSQL, renewed while its holder lives.

The lease is held by the flow's own process and never across a suspend; when the process dies it expires by itself.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from blocks.world import open_world
from domain.break_glass import explain_mark
from domain.errors import RefusedError, TransientError
from tasks.recording import Subject, effect_task, patient_task, record

TTL_S = 45.0
RENEW_S = 10.0
WAIT_S = 5
WAITS = 180


class LeaseKeeper:
    """Whether the lease is still ours; asked before each effect that must not meet another's."""

    def __init__(self, name: str, owner: str) -> None:
        self.name = name
        self.owner = owner
        self.lost = ""

    def check(self) -> None:
        """Raises: RefusedError where somebody else has the lease now, or took the environment back by hand."""
        if self.lost:
            raise RefusedError(f"{self.lost} This run must not go on; look at `slipway history`.")
        _, application, environment = self.name.split(":")
        with open_world().break_glass.guarded(application, environment, run=self.owner):
            return


@patient_task(waits=WAITS, wait_s=WAIT_S)
def acquire_lease(name: str, owner: str) -> None:
    """Take the lease, waiting for whoever has it up to a quarter of an hour. Effect: a row that expires.

    An environment that was rolled back by hand is nobody's until the ledger knows about it.
    """
    for mark in open_world().break_glass.marks():
        if environment_lease(mark.application, mark.environment) == name:
            raise TransientError(explain_mark(mark))
    open_world().leases.acquire(name, owner=owner, ttl_s=TTL_S)


@contextmanager
def held_lease(name: str, *, owner: str) -> Generator[LeaseKeeper]:
    """Hold a lease for the length of a block, renewing it beside the work."""
    acquire_lease(name, owner)
    keeper, done = LeaseKeeper(name, owner), threading.Event()
    renewer = threading.Thread(target=_renew, args=(keeper, owner, done), name=f"lease {name}", daemon=True)
    renewer.start()
    try:
        yield keeper
    finally:
        done.set()
        renewer.join(timeout=5)
        _give_back(name, owner)


def _renew(keeper: LeaseKeeper, owner: str, done: threading.Event) -> None:
    while not done.wait(RENEW_S):
        try:
            open_world().leases.acquire(keeper.name, owner=owner, ttl_s=TTL_S)
        except TransientError as exc:
            # a server that is away keeps nobody's lease: only another holder means that it is lost
            if "is held by" in str(exc):
                keeper.lost = str(exc)


def _give_back(name: str, owner: str) -> None:
    try:
        open_world().leases.release(name, owner=owner)
    except TransientError:
        return  # it expires by itself


INTERRUPT_WAIT_S = 20


@effect_task
def interrupt_holder(run: str, name: str, actor: str, others: tuple[str, ...]) -> tuple[str, ...]:
    """End the runs in the way of an administrator, and wait for their lease to be free.

    Effect: whoever holds the lease, and the `others`, are cancelled, and the lease is taken from them. Returns the runs
    that were ended.
    """
    world = open_world()
    holders = [lease.owner for lease in world.leases.held() if lease.name == name]
    runs = tuple(dict.fromkeys(owner for owner in (*holders, *others) if owner != run))
    for owner in runs:
        record(Subject(run, name.split(":")[1], actor=actor), "run.interrupted", detail=owner, interrupted=owner)
        world.run_records.cancel(owner)
    deadline = world.clock.now() + timedelta(seconds=INTERRUPT_WAIT_S)
    while world.clock.now() < deadline and any(_is_held(name, owner) for owner in runs):
        world.clock.sleep(0.5)
    for owner in runs:
        # who did not let go in time has it taken away: its keeper notices before its next effect, and stops
        world.leases.release(name, owner=owner)
    return runs


def _is_held(name: str, owner: str) -> bool:
    return any(lease.name == name and lease.owner == owner for lease in open_world().leases.held())


def environment_lease(application: str, environment: str) -> str:
    """Name the lease of an application's environment."""
    return f"rollout:{application}:{environment}"
