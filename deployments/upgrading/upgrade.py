"""From the version that runs to this one: look, be quiet, copy, stop, migrate, start, verify. Or say why not.

What users reach keeps running: load balancers and released services are not stopped. Releases that wait for a decision
wait on, and go on with the code that they began with. Killed anywhere, the same command goes on.
"""

import getpass
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from blocks.installation import Installation, write_private
from blocks.instance_register import InstanceRegister
from blocks.ledger_postgres import PostgresLedger
from blocks.postgres_copy import database_bytes
from blocks.postgres_roles import find_login_problem
from blocks.postgres_server import wait_ready
from blocks.postgres_session import PostgresSession
from blocks.schema_version import find_obstacle
from blocks.schema_version import read_version as read_schema
from blocks.supervisor import Supervisor
from deployments.doctor.case import Case
from deployments.doctor.examining import examine
from deployments.rotation.note import read_note as read_rotation
from deployments.rotation.quiet import open_pools, pause_pools, wait_quiet
from deployments.stack.lock import exclusive
from deployments.stack.probes import answers_http
from deployments.stack.progress import Progress
from deployments.stack.settings import read_settings
from deployments.stack.up import bring_up
from deployments.upgrading.copy import DATABASES, Copy, list_copies, prune_copies, put_back, start_code, take_copy
from deployments.upgrading.version import find_prefect_obstacle, own_prefect, read_version
from domain.diagnosis import first_broken
from domain.errors import ConfigError, InvariantError, RefusedError, SlipwayError
from domain.ledger import Event
from domain.release import short
from domain.rollout import CLOSING_KINDS, OPENING_KINDS, open_rollouts

NOTE = "upgrade.json"
QUIET_LIMIT_S = 600
OWN_KINDS = ("upgrade.completed", "upgrade.undone")
_STAYING = ("postgres", "s3", "door")
"""The door keeps what forges send; `up` puts the new one in its place within seconds."""


@dataclass(frozen=True, slots=True)
class Under:
    """An upgrade under way: the pools that it paused, and the copy once it was taken."""

    paused: tuple[str, ...] = ()
    copy: str = ""


def upgrade(progress: Progress, *, limit_s: float = QUIET_LIMIT_S) -> Copy:
    """Bring the installation to this code's version; returns the copy that was taken before.

    Raises: RefusedError or ConfigError with every reason, before anything is changed; InvariantError naming the first
        broken thing afterwards, and the way back.
    """
    case = Case(read_settings())
    with exclusive(case.state):
        with progress.step("PostgreSQL answers"):
            url = _wake_postgres(case)
        under = _read_under(case.state)
        with progress.step("nothing stands in the way"):
            _refuse(case, url)
        if not under.copy:
            under = _make_quiet(case, under, progress, limit_s=limit_s)
            under = _copy(case, under, url, progress)
        with progress.step("what must stop is stopped") as notes:
            notes += _stop(case.installation, staying=_STAYING)
    copy = next(one for one in list_copies(case.state) if one.at == under.copy)
    try:
        bring_up(case.settings, progress, upgrading=True)
        pause_pools(Case(case.settings), under.paused, paused=False)
        with progress.step("slipway doctor"):
            _verify(case)
    except SlipwayError as exc:
        raise InvariantError(f"{exc}\nThe upgrade did not end well. Back to what was: slipway upgrade --back") from exc
    _finish(case, copy)
    return copy


def go_back(progress: Progress, *, drop_entries: bool = False) -> Copy:
    """Put the newest copy back and start the code that goes with it.

    Raises: ConfigError where there is no copy; RefusedError where the ledger has entries since: they would be lost.
    """
    case = Case(read_settings())
    copies = list_copies(case.state)
    if not copies:
        raise ConfigError(f"There is no copy in {case.state}/upgrades. `slipway upgrade` takes one.")
    copy = copies[-1]
    with exclusive(case.state):
        with progress.step("PostgreSQL answers"):
            url = _wake_postgres(case)
        _refuse_loss(url, copy, drop_entries=drop_entries)
        with progress.step("what must stop is stopped") as notes:
            notes += _stop(case.installation, staying=_STAYING[:-1])  # what the door took now would be lost
        with progress.step(f"databases as they were at {copy.at}"):
            put_back(case.installation, case.secret("postgres_superuser"), copy)
        (case.state / "version.json").unlink(missing_ok=True)
    with progress.step(f"code {copy.code} is up"):
        start_code(case.state, copy)
    paused = _read_under(case.state).paused
    pause_pools(Case(case.settings), paused or tuple(one for one in _paused(case)), paused=False)
    (case.state / NOTE).unlink(missing_ok=True)
    return copy


def _paused(case: Case) -> Iterator[str]:
    """Pools that were paused when the copy was taken: the upgrade had made it quiet."""
    yield from (str(pool["name"]) for pool in case.ask("POST", "/work_pools/filter", {}) if pool["is_paused"])


def _wake_postgres(case: Case) -> str:
    """The superuser's URL, with the server answering; also where the stack was taken down before."""
    supervisor = Supervisor.of(case.installation)
    url = f"postgresql://postgres:{case.secret('postgres_superuser')}@127.0.0.1:{case.installation.ports['postgres']}"
    if find_login_problem(f"{url}/postgres"):
        for folder in ("postgres", "s3"):
            (case.installation.sockets / folder).mkdir(parents=True, exist_ok=True)
        supervisor.boot()
        supervisor.start("postgres")
        wait_ready(f"{url}/postgres")
    return url


def _refuse(case: Case, url: str) -> None:
    """Raises: RefusedError with every reason."""
    reasons = [
        find_obstacle(read_schema(f"{url}/slipway_ledger"), upgrading=True),
        find_prefect_obstacle(read_version(case.state).get("prefect", ""), own_prefect(), upgrading=True),
    ]
    if rotation := read_rotation(case.state):
        reasons.append(f"A rotation is under way. Finish it: slipway rotate credential {rotation.what}")
    needed = sum(database_bytes(f"{url}/postgres", name) for name in DATABASES) + case.settings.disk_free_bytes_min
    free = shutil.disk_usage(case.state).free
    if free < needed:
        reasons.append(
            f"{free / 10**9:.2f} GB are free, and the copy needs up to {needed / 10**9:.2f} GB (SLIPWAY_DISK_FREE_MIN "
            "included). Free some space."
        )
    if any(reasons):
        raise RefusedError("Nothing was changed.\n" + "\n".join(f"  - {reason}" for reason in reasons if reason))


def _make_quiet(case: Case, under: Under, progress: Progress, *, limit_s: float) -> Under:
    """No run at work, and none midway. With Prefect down there is none."""
    if not answers_http(f"{case.installation.prefect_api_url}/health"):
        return under
    if not under.paused:
        under = replace(under, paused=tuple(open_pools(case)))
        _write_under(case.state, under)
    pause_pools(case, under.paused, paused=True)
    try:
        with progress.step("no run is at work"):
            wait_quiet(case, limit_s=limit_s, say=progress.say)
            _refuse_midway(case)
    except BaseException:
        pause_pools(case, under.paused, paused=False)
        (case.state / NOTE).unlink(missing_ok=True)
        raise
    return under


def _refuse_midway(case: Case) -> None:
    """Raises: RefusedError where a rollout has shifted traffic and waits for a person."""
    port, password = case.installation.ports["postgres"], case.secret("postgres_superuser")
    for rollout in open_rollouts(
        _ledger(f"postgresql://postgres:{password}@127.0.0.1:{port}").entries(
            kinds=(*OPENING_KINDS, *CLOSING_KINDS), limit=100_000
        )
    ):
        raise RefusedError(
            f"Nothing was changed. {rollout.application} {short(rollout.release)} is midway in {rollout.environment}: "
            "answer its question, or roll back, then upgrade."
        )


def _copy(case: Case, under: Under, url: str, progress: Progress) -> Under:
    with progress.step("copy of the databases") as notes:
        newest = _ledger(url).entries(newest_first=True, limit=1)
        mark = case.state / "prefect" / "blocks-registered"
        copy = take_copy(
            case.installation,
            case.secret("postgres_superuser"),
            code=mark.read_text() if mark.exists() else "",
            prefect=read_version(case.state).get("prefect", own_prefect()),
            head=newest[0].seq if newest else 0,
        )
        notes.append(f"{copy.size_bytes / 10**6:.1f} MB in upgrades/{copy.at}")
    under = replace(under, copy=copy.at)
    _write_under(case.state, under)
    return under


def _stop(installation: Installation, *, staying: Sequence[str]) -> list[str]:
    """Take away every part but the servers of data and what users reach; `up` makes those that this version has."""
    supervisor = Supervisor.of(installation)
    register = InstanceRegister(installation.state / "instances", installation.ports["instances"])
    serving = {name for group in register.groups() for name in (group.name, *group.units)}
    gone = [
        group
        for group in supervisor.groups()
        if group not in staying and group not in serving and not group.startswith("traefik-")
    ]
    # The keeper first: it would bring back what is taken away.
    for group in sorted(gone, key=lambda name: (name != "keeper", name == "prefect", name)):
        supervisor.remove_group(group)
    return gone


def _verify(case: Case) -> None:
    broken = first_broken(examine(Case(case.settings)))
    if broken is not None:
        raise InvariantError(f"{broken.check}: {broken.found} Try: {broken.command}")


def _finish(case: Case, copy: Copy) -> None:
    data = {"from": asdict(copy), "to": {"code": Case(case.settings).code.name, "prefect": own_prefect()}}
    event = Event("upgrade.completed", actor=getpass.getuser(), key=f"upgrade.completed:{copy.at}", data=data)
    case.world.ledger.append(event)
    (case.state / NOTE).unlink(missing_ok=True)
    prune_copies(case.state)


def _refuse_loss(url: str, copy: Copy, *, drop_entries: bool) -> None:
    since = [entry for entry in _ledger(url).entries(after=copy.head) if entry.kind not in OWN_KINDS]
    if since and not drop_entries:
        raise RefusedError(
            f"The ledger has {len(since)} entries since the copy of {copy.at}, the first is {since[0].kind}. Going "
            "back would lose them, and what they say has happened. Mend this version instead, or add --drop-entries."
        )


def _ledger(url: str) -> PostgresLedger:
    return PostgresLedger(PostgresSession(f"{url}/slipway_ledger"))


def _read_under(state: Path) -> Under:
    try:
        value = json.loads((state / NOTE).read_text())
    except FileNotFoundError:
        return Under()
    return Under(tuple(value["paused"]), value["copy"])


def _write_under(state: Path, under: Under) -> None:
    write_private(state / NOTE, json.dumps(asdict(under)))
