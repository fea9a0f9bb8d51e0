"""Whether a step may begin: the parts that it needs answer, and the disk has room."""

from blocks.world import open_world
from domain.disk import INSTALLED_FACTOR, refuse_full
from tasks.instances import find_manifest
from tasks.recording import reading_task
from tasks.waiting import patiently


@reading_task
def await_parts(what: str) -> None:
    """Wait until ledger and object store answer. Effect: none, but lines in the run's log while one is away."""
    world = open_world()
    patiently(f"{what}, for PostgreSQL,", lambda: world.ledger.entries(limit=1))
    patiently(f"{what}, for S3,", lambda: world.store.exists("bundles/none"))


@reading_task
def refuse_full_disk(what: str, application: str = "", release: str = "") -> None:
    """Raises: RefusedError with the figures where the disk has too little room, for a release's bytes where one is
    named."""
    disk = open_world().disk
    size = find_manifest(application, release).bundle.size_bytes if release else 0
    refuse_full(
        free_bytes=disk.free_bytes(),
        free_bytes_min=disk.free_bytes_min,
        needed_bytes=size * INSTALLED_FACTOR,
        what=what,
    )
