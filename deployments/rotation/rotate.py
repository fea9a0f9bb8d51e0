"""The rotation of each credential: what is put in force, where, and which parts start anew.

One shape for all: new value beside the old one, quiet where every run holds the old one, put it in force, let it take
the old one's place, bring the stack up (which restarts exactly the parts whose settings changed), record. Every step
may be repeated, so that a rotation which was killed is finished by the same command.
"""

import getpass
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from blocks.backup_keys import CIPHER_SECRET, IDENTITY_SECRET
from blocks.drill_results import KEY_SECRET
from blocks.postgres_roles import ensure_role, find_login_problem
from blocks.postgres_session import GENERAL_ROLE
from blocks.resealing import reseal_blocks, reseal_desk
from blocks.seal import SEAL_SECRET
from blocks.settings_seal import key_name
from blocks.supervisor import Supervisor
from deployments.doctor.case import Case
from deployments.rotation import note as notes
from deployments.rotation.note import Note
from deployments.rotation.quiet import open_pools, pause_pools, wait_quiet
from deployments.stack.lock import exclusive
from deployments.stack.progress import Progress
from deployments.stack.settings import read_settings
from deployments.stack.up import bring_up
from domain.errors import InvariantError
from domain.ledger import Event

QUIET_LIMIT_S = 600
_LEDGER_DATABASE = "slipway_ledger"


@dataclass(frozen=True, slots=True)
class Rotation:
    """How one credential is rotated: the names in `credentials.json`, and how the new values come into force."""

    names: tuple[str, ...]
    apply: Callable[[Case], None]
    says: str
    needs_quiet: bool = False


def rotate(what: str, *, progress: Progress, limit_s: float = QUIET_LIMIT_S) -> None:
    """Rotate one credential; `what` is a word of `ROTATIONS`.

    Effect: see each rotation; recorded in the ledger, without a value. Killed anywhere, the same command finishes it.
    Raises: RefusedError while another rotation is unfinished; TransientError where runs don't end in time.
    """
    rotation, case = ROTATIONS[what], Case(read_settings())
    with exclusive(case.state):
        note = notes.begin(case.state, what, rotation.names)
        if any(notes.next_value(case.state, name) for name in rotation.names):
            if rotation.needs_quiet:
                note = _make_quiet(case, note, progress, limit_s=limit_s)
            with progress.step(f"new {what} in force"):
                rotation.apply(case)
                notes.promote(case.state, rotation.names)
    bring_up(case.settings, progress)
    with progress.step("recorded"):
        _finish(Case(case.settings), note)


def _make_quiet(case: Case, note: Note, progress: Progress, *, limit_s: float) -> Note:
    if note.is_quiet:
        return note  # the server may be down by now
    if not note.paused:
        note = replace(note, paused=tuple(open_pools(case)))
        notes.write_note(case.state, note)
    pause_pools(case, note.paused, paused=True)
    with progress.step("no run is at work"):
        try:
            wait_quiet(case, limit_s=limit_s, say=progress.say)
        except BaseException:
            pause_pools(case, note.paused, paused=False)
            raise
    note = replace(note, is_quiet=True)
    notes.write_note(case.state, note)
    return note


def _finish(case: Case, note: Note) -> None:
    pause_pools(case, note.paused, paused=False)
    event = Event(
        "credential.rotated", actor=getpass.getuser(), key=f"credential.rotated:{note.id}", data={"what": note.what}
    )
    case.world.ledger.append(event)
    notes.end(case.state)


def _change_role(role: str, secret: str) -> Callable[[Case], None]:
    def apply(case: Case) -> None:
        value = notes.next_value(case.state, secret)
        if value is not None:
            ensure_role(_superuser_url(case), role, password=value)

    return apply


def _superuser_url(case: Case, database: str = "postgres") -> str:
    """Log in with the present password, or with the new one where a rotation was killed after it came into force."""
    problem = "no password"
    for value in (case.secret("postgres_superuser"), notes.next_value(case.state, "postgres_superuser")):
        if value is None:
            continue
        url = f"postgresql://postgres:{value}@127.0.0.1:{case.installation.ports['postgres']}/{database}"
        problem = find_login_problem(url)
        if not problem:
            return url
    raise InvariantError(f"PostgreSQL does not let its superuser in: {problem} Look at `slipway doctor`.")


def _reseal_desk(name: str, environment: str = "") -> Callable[[Case], None]:
    def apply(case: Case) -> None:
        new = notes.next_value(case.state, name)
        if new is None:
            return
        # Twice: a command that read the old key a moment before may have written with it in between.
        for pause_s in (1.0, 0.0):
            url = _superuser_url(case, _LEDGER_DATABASE)
            reseal_desk(url, old=case.secret(name), new=new, environment=environment)
            time.sleep(pause_s)

    return apply


def _reseal_blocks(case: Case) -> None:
    """While Prefect's server is down: it holds the old key until its end."""
    name = "prefect_encryption_key"
    new = notes.next_value(case.state, name)
    if new is None:
        return
    Supervisor.of(case.installation).stop("prefect")
    reseal_blocks(_superuser_url(case, "prefect"), old=case.secret(name), new=new)


def _nothing(case: Case) -> None:
    """The parts read the new value when they start."""


NOT_ROTATED = ("s3_encryption_key", CIPHER_SECRET, IDENTITY_SECRET, KEY_SECRET)
"""What opens backups that exist, and what their drills' results are signed with: replaced, those could not be read, and
these not be told from forged ones, any more."""

_S3_ROLES = ("s3", "s3_admin", "s3_anchor", "s3_backup", "s3_backup_expire", "s3_backup_read", "s3_archive", "s3_usage")
_S3_NAMES = tuple(f"{role}_{kind}_key" for role in _S3_ROLES for kind in ("access", "secret"))

_ONE_BY_ONE: dict[str, Rotation] = {
    "prefect-auth": Rotation(("prefect_auth",), _nothing, "Prefect's auth string, the UI's password", needs_quiet=True),
    "prefect-database": Rotation(
        ("postgres_prefect",), _change_role("prefect", "postgres_prefect"), "the password of Prefect's database"
    ),
    "ledger-database": Rotation(
        ("postgres_slipway",), _change_role("slipway", "postgres_slipway"), "the password of ledger and desk"
    ),
    "general-database": Rotation(
        ("postgres_general",), _change_role(GENERAL_ROLE, "postgres_general"), "the general worker's way to the ledger"
    ),
    "postgres-superuser": Rotation(
        ("postgres_superuser",), _change_role("postgres", "postgres_superuser"), "PostgreSQL's superuser"
    ),
    "s3": Rotation(_S3_NAMES, _nothing, "the keys of the object store, of each role", needs_quiet=True),
    "seal-key": Rotation((SEAL_SECRET,), _reseal_desk(SEAL_SECRET), "the key that seals seeds and webhook secrets"),
    "prefect-encryption-key": Rotation(
        ("prefect_encryption_key",), _reseal_blocks, "the key that seals Prefect's block documents", needs_quiet=True
    ),
    **{
        f"settings-key-{name}": Rotation(
            (key_name(name),), _reseal_desk(key_name(name), name), f"the key that seals applications' secrets in {name}"
        )
        for name in ("development", "test", "staging", "production")
    },
}


def _apply_all(case: Case) -> None:
    for rotation in _ONE_BY_ONE.values():
        rotation.apply(case)


ROTATIONS: dict[str, Rotation] = {
    **_ONE_BY_ONE,
    "all": Rotation(
        tuple(name for rotation in _ONE_BY_ONE.values() for name in rotation.names),
        _apply_all,
        "all of these at once: for a credentials.json that somebody else has seen",
        needs_quiet=True,
    ),
}
