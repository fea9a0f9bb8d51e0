"""One rollout at a time in an environment: a lease in PostgreSQL, renewed while its holder lives.

The lease is held by the flow's own process and never across a suspend; when the process dies it expires by itself.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.world import open_world
from domain.errors import RefusedError, TransientError
from tasks.recording import is_transient

TTL_S = 45.0
RENEW_S = 10.0
WAIT_S = 5
WAITS = 180


class LeaseKeeper:
    """Whether the lease is still ours; asked before each effect that must not meet another's."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lost = ""

    def check(self) -> None:
        """Raises: RefusedError where somebody else has the lease now."""
        if self.lost:
            raise RefusedError(f"{self.lost} This run must not go on; look at `slipway history`.")


@task(
    persist_result=False,
    cache_policy=NO_CACHE,
    retries=WAITS,
    retry_delay_seconds=WAIT_S,
    retry_condition_fn=is_transient,
)
def acquire_lease(name: str, owner: str) -> None:
    """Take the lease, waiting for whoever has it up to a quarter of an hour. Effect: a row that expires."""
    open_world().leases.acquire(name, owner=owner, ttl_s=TTL_S)


@contextmanager
def held_lease(name: str, *, owner: str) -> Generator[LeaseKeeper]:
    """Hold a lease for the length of a block, renewing it beside the work."""
    acquire_lease(name, owner)
    keeper, done = LeaseKeeper(name), threading.Event()
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


def environment_lease(application: str, environment: str) -> str:
    """Name the lease of an application's environment."""
    return f"rollout:{application}:{environment}"
