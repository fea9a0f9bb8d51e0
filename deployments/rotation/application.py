"""The password of an application's database: replaced while no rollout goes on, instances restarted site by site."""

import getpass
from dataclasses import replace
from uuid import uuid4

from blocks.world import open_world
from deployments.stack.progress import Progress
from domain.ledger import Event
from domain.rollout import SETTLING_KINDS, live_release
from tasks.instances import await_ready, start_instances
from tasks.lease import environment_lease

_LEASE_S = 900


def rotate_database_password(application: str, environment: str, *, progress: Progress) -> None:
    """Give the role of an application's database another password, then restart its instances site by site.

    Effect: no rollout goes on there meanwhile; instances of one site end and start anew, for seconds. Killed anywhere,
    it is run again. Raises: TransientError naming who holds the environment's lease, or what does not get ready.
    """
    world = open_world()
    name, place = world.applications.get(application).name, world.environment(environment)
    owner = f"rotation-{uuid4().hex[:8]}"
    lease = environment_lease(name, environment)
    world.leases.acquire(lease, owner=owner, ttl_s=_LEASE_S)
    try:
        with progress.step("the role has another password"):
            world.databases.rotate(name, environment)
        live = live_release(
            world.ledger.entries(kinds=SETTLING_KINDS, application=name, environment=environment, limit=100_000)
        )
        for site in (*place.standbys, place.primary) if live else ():
            with progress.step(f"instances of {environment}/{site.name}") as notes:
                start_instances.fn(owner, name, environment, site.name, live, "rotated")
                notes.append(await_ready.fn(name, environment, site.name, live) or "ready")
        event = Event("credential.rotated", application=name, environment=environment, actor=getpass.getuser())
        world.ledger.append(replace(event, data={"what": "database"}))
    finally:
        world.leases.release(lease, owner=owner)
