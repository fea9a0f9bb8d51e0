"""Asking the ledger, before each effect on an environment with an approval, what lets this run do it."""

from blocks.world import open_world
from domain.authority import AUTHORISING_KINDS, find_authority, find_leave, refuse_unauthorised
from domain.errors import RefusedError
from tasks.recording import Subject, record


def require_authority(run: str, application: str, environment: str, release: str, *, ends: bool = False) -> None:
    """Refuse an effect that no entry of the ledger allows; free where the environment asks for no approval.

    Args:
        release: what is to serve (empty: nothing any more), or with `ends` what is to be ended.

    Raises: RefusedError; the attempt is in the ledger then, as `effect.refused`.
    """
    world = open_world()
    if not world.environment(environment).approval:
        return
    entries = world.ledger.entries(
        kinds=AUTHORISING_KINDS, application=application, environment=environment, limit=100_000
    )
    authority = (find_leave if ends else find_authority)(entries, run=run, release=release)
    try:
        refuse_unauthorised(authority, run=run, application=application, environment=environment, release=release)
    except RefusedError as exc:
        record(Subject(run, application, environment, "", release), "effect.refused", reason=str(exc)[:500])
        raise
