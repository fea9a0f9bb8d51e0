"""Rebuild Slipway on an empty folder: files and secrets, the store, PostgreSQL at a named point, the buckets' objects.

The steps are those of `slipway recover`; its drill takes the same ones, and nothing reaches the outside. What can't
come back is made anew and said. Killed in between, the same command begins again: a mark says that the folder is ours.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks import anchors_s3, archives_s3
from blocks.backup_barman import BarmanEngine
from blocks.backup_bucket import BackupBucket, ensure_backup_bucket
from blocks.backup_copies import OBJECTS
from blocks.bucket import Account, ensure_bucket, ensure_locked_bucket
from blocks.bundle import sha256_of
from blocks.installation import STATE_VARIABLE, write_private
from blocks.postgres_roles import ensure_role
from blocks.postgres_server import SUPERUSER
from blocks.processes import end_all, stack_members
from blocks.scratch_postgres import PostgresScratch
from blocks.state_files import SETTINGS
from blocks.state_files import SOURCE as STATE_FILES
from blocks.supervisor import Supervisor
from deployments.recovery.source import ENGINE, READ_KEYS, RecoverySource, open_source, read_state_files
from deployments.stack import parts
from deployments.stack.code import copy_code
from deployments.stack.credentials import ensure_credentials
from deployments.stack.layout import make_installation, ship_capacity, ship_environments
from deployments.stack.lock import exclusive
from deployments.stack.parts import Kit
from deployments.stack.progress import Progress
from deployments.stack.settings import Settings, read_settings
from deployments.stack.up import look_before
from domain.anchor import is_anchor, read_anchor
from domain.backup_retention import choose_log
from domain.drill import Outcome, check_space
from domain.errors import ConfigError, InvariantError, SlipwayError
from domain.recovery import Point, choose_point, read_point, refuse_other_installation

MARK, DONE = "recovering.json", "recovered.json"
LIMIT_S = 6 * 3600.0
_NAME = "recovery"
_FOREIGN_SETTINGS = ("SLIPWAY_SOCKETS",)
"""What stood in the old settings about the old machine's folders."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for. `isolated`: nothing that reaches the outside may run, and nothing is archived or copied."""

    state: Path
    url: str = ""
    folder: str = ""
    to: str = "latest"
    isolated: bool = False


@dataclass(slots=True)
class Recovered:
    """What came back. `seconds` are those of each step; `missing` names objects that no copy holds; `left_out` counts
    anchors of entries beyond the point, which the recovered ledger does not have."""

    backup: str = ""
    point: str = ""
    last_commit_at: str = ""
    lsn: str = ""
    ledger_head: int = 0
    left_out: int = 0
    objects: dict[str, int] = field(default_factory=dict[str, int])
    copies: dict[str, str] = field(default_factory=dict[str, str])
    missing: list[str] = field(default_factory=list[str])
    made_anew: list[str] = field(default_factory=list[str])
    seconds: dict[str, float] = field(default_factory=dict[str, float])


def recover(order: Order, kit: dict[str, Any], progress: Progress) -> tuple[Kit, Recovered]:
    """Lay everything out, up to a server and a store that run; `slipway up`, or the drill, goes on from there.

    Effect: the state folder; processes of its own. Raises: ConfigError for what the operator has to change.
    """
    to = read_point(order.to)
    source = open_source(kit, url=order.url, folder=order.folder)
    done = Recovered()
    claim(order.state, kit)
    moment = to if isinstance(to, datetime) else None
    with _timed(progress, done, "files and secrets") as notes:
        settings = _lay_files(order, kit, source, moment, done)
        look_before(settings)
        stack = _prepare(settings, notes)
    with exclusive(order.state):
        supervisor = Supervisor.of(stack.installation)
        supervisor.boot()
        with _timed(progress, done, "the store"):
            supervisor.add_group("s3", [parts.s3(stack)])
            admin = _ensure_buckets(stack)
        if source.place is not None:
            with _timed(progress, done, "backups out of the second place") as notes:
                filled = source.place.fill(
                    BackupBucket(_account(stack, "s3_backup")), ("postgres/", f"{OBJECTS}/", "dumps/", "drills/")
                )
                notes.append(f"{filled} objects")
        with _timed(progress, done, "PostgreSQL") as notes:
            notes.append(_recover_server(order, kit, stack, source, to, done))
        with _timed(progress, done, "objects of the buckets") as notes:
            _restore_buckets(source, admin, stack, moment or _last_commit(done), done)
            notes.append(", ".join(f"{name} {count}" for name, count in done.objects.items()) or "none were copied")
    write_private(order.state / DONE, json.dumps(asdict(done), indent=2))
    return stack, done


def find_laid_out(state: Path) -> Recovered | None:
    """What an interrupted recovery had laid out whole: then only `slipway up` and the applications are left to do."""
    if not (state / MARK).exists() or not (state / DONE).exists():
        return None
    return Recovered(**json.loads((state / DONE).read_text()))


def finish(state: Path) -> None:
    """Take the mark away: from now on the folder is an installation as any other."""
    (state / MARK).unlink(missing_ok=True)


def claim(state: Path, kit: dict[str, Any]) -> None:
    """Take an empty folder, or one that an interrupted recovery left.

    Raises: ConfigError where something else is in it: nothing is ever written over.
    """
    mark = state / MARK
    if state.exists() and any(state.iterdir()):
        if not mark.exists():
            raise ConfigError(
                f"{state} is not empty. A recovery takes an empty folder: name another with --state, or move that."
            )
        _clear(state)
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o711 if os.geteuid() == 0 else 0o700)
    write_private(mark, json.dumps({"kit": kit.get("made_at", ""), "at": datetime.now(UTC).isoformat()}))


def _clear(state: Path) -> None:
    """End what an interrupted recovery started, and remove what it laid out; the mark goes last."""
    end_all(stack_members(state), grace_s=10)
    for path in state.iterdir():
        if path.name != MARK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _lay_files(
    order: Order, kit: dict[str, Any], source: RecoverySource, moment: datetime | None, done: Recovered
) -> Settings:
    state, files = order.state, read_state_files(source, moment)
    for key, body in files.items():
        path = state / key
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, body.decode(), mode=0o600 if key.startswith("workers/") else 0o644)
    if not files:
        done.made_anew.append("environments, settings and accepted blocks: none were copied; Slipway's own are taken")
    given = json.loads(files[SETTINGS]) if SETTINGS in files else {}
    kept = {name: value for name, value in given.items() if name not in _FOREIGN_SETTINGS}
    if order.isolated:
        kept = {name: value for name, value in kept.items() if not name.startswith("SLIPWAY_BACKUP_COPY")}
    kept["SLIPWAY_BACKUP_ENGINE"] = ENGINE  # what took the backups goes on taking them
    write_private(state / SETTINGS, json.dumps(kept, indent=2, sort_keys=True))
    write_private(state / "credentials.json", json.dumps(kit["secrets"], indent=2))
    os.environ[STATE_VARIABLE] = str(state)
    return read_settings()


def _prepare(settings: Settings, notes: list[str]) -> Kit:
    settings.save()
    known = set(json.loads((settings.state / "credentials.json").read_text()))
    credentials = ensure_credentials(settings.state)
    if made := sorted(set(credentials) - known):
        notes.append(f"made anew: {', '.join(made)}")
    ship_environments(settings.state)
    ship_capacity(settings.state)
    installation = make_installation(settings)
    code = copy_code(settings.state / "code")
    return Kit(installation=installation, settings=settings, credentials=credentials, environ=os.environ, code=code)


def _ensure_buckets(stack: Kit) -> Account:
    admin = _account(stack, "s3_admin")
    ensure_bucket(admin, parts.BUCKET)
    ensure_bucket(admin, archives_s3.BUCKET)
    ensure_locked_bucket(admin, anchors_s3.BUCKET, retention_days=stack.settings.anchor_retention_days)
    ensure_backup_bucket(admin, lock_days=stack.settings.backup_lock_days)
    return admin


def _account(stack: Kit, name: str) -> Account:
    secrets = stack.credentials
    url = f"http://127.0.0.1:{stack.installation.ports['s3']}"
    return Account(url, secrets[f"{name}_access_key"], secrets[f"{name}_secret_key"])


def _recover_server(
    order: Order, kit: dict[str, Any], stack: Kit, source: RecoverySource, to: datetime | str, done: Recovered
) -> str:
    """Restore the cluster to the point, on a scratch server that nobody reaches, then put its files into place."""
    installation = stack.installation
    final = parts.postgres_server(stack)  # also lays out what serves the log
    engine = BarmanEngine(
        source.bucket or BackupBucket(_account(stack, READ_KEYS)),
        server=None,
        python=installation.python,
        client=installation.state / "runtime" / "wal_client.py",
    )
    point = _choose(engine, kit, to)
    folder = installation.folder("work") / "recovery"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    scratch = PostgresScratch(
        folder=folder,
        sockets=installation.sockets,
        binaries=installation.postgres_bin,
        user=installation.users.database,
        data_python=lambda: Path("/nowhere"),
    )
    space = check_space(point.backup.size_bytes, scratch.free_bytes())
    if space.outcome is not Outcome.PASS:
        words = f"{space.values['needed']} needed, {space.values['free']} free"
        raise ConfigError(f"{order.state} has no room for backup {point.backup.id}: {words}. Name a larger disk.")
    directory = scratch.prepare(_NAME)
    with engine.restore(
        point.backup.id, point.target, directory, user=installation.users.database, limit_s=LIMIT_S
    ) as recovery:
        recovered = scratch.start(_NAME, recovery, limit_s=LIMIT_S)
    # the kit's password holds, whichever was in force when the backup was taken
    ensure_role(scratch.url(_NAME), SUPERUSER, password=stack.credentials["postgres_superuser"])
    newest = scratch.ledger(_NAME).entries(newest_first=True, limit=1)
    done.ledger_head = newest[0].seq if newest else 0
    pages = scratch.check_pages(_NAME)
    if pages.outcome is not Outcome.PASS:
        raise InvariantError(
            f"The recovered server's pages are not whole: {dict(pages.values)}. Name an earlier time with --to."
        )
    os.sync()  # it ran without fsync
    (directory).rename(final.data)
    scratch.destroy(_NAME)
    done.backup, done.point = point.backup.id, point.said
    done.lsn, done.last_commit_at = recovered.lsn, recovered.last_commit_at
    return f"at {point.said}, last commit {recovered.last_commit_at or 'unknown'}"


def _choose(engine: BarmanEngine, kit: dict[str, Any], to: datetime | str) -> Point:
    backups = list(engine.backups())
    refuse_other_installation(backups, str(kit.get("installation", {}).get("system_id", "")))
    done = [one for one in backups if one.is_done]
    manifests = {one.id: engine.manifest(one.id) for one in done[-1:]}
    extra = {id: one.extra for id, one in manifests.items() if one}
    wal = engine.wal_state(since=choose_log(done[-1:], window_begin=None).since if done else "")
    return choose_point(backups, wal, to, extra)


def _restore_buckets(
    source: RecoverySource, admin: Account, stack: Kit, moment: datetime | None, done: Recovered
) -> None:
    """Put each bucket's objects into the new store, every one compared on its way."""
    work = stack.installation.folder("work")
    for name in [one for one in source.sources() if one != STATE_FILES]:
        copy = source.copy_of(name, moment)
        if copy is None:
            continue
        if name not in (parts.BUCKET, archives_s3.BUCKET, anchors_s3.BUCKET):
            ensure_bucket(admin, name)
        target, count = BackupBucket(admin, name, is_encrypted=False), 0
        for key, one in source.objects.manifest(copy).items():
            if name == anchors_s3.BUCKET and _is_beyond(key, done.ledger_head):
                done.left_out += 1
                continue
            with tempfile.TemporaryDirectory(dir=work, prefix="object-") as folder:
                draft = Path(folder) / "content"
                try:
                    source.reader.fetch(f"{OBJECTS}/{name}/data/{one.sha256}", draft)
                except SlipwayError as exc:
                    done.missing.append(f"{name}/{key}: {str(exc)[:120]}")
                    continue
                if sha256_of(draft) != one.sha256:
                    done.missing.append(f"{name}/{key}: its copy is damaged")
                    continue
                target.put_file(key, draft)
                count += 1
        done.objects[name], done.copies[name] = count, copy.key


def _is_beyond(key: str, head: int) -> bool:
    """Whether an anchor is of an entry that the recovered ledger does not have; it could never be removed again."""
    anchor = key.rpartition("/")[2]
    return is_anchor(anchor) and read_anchor(anchor).seq > head


def _last_commit(done: Recovered) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(done.last_commit_at)
    return None


class _timed:
    """One step, said and measured."""

    def __init__(self, progress: Progress, done: Recovered, name: str) -> None:
        self._step, self._done, self._name = progress.step(name), done, name

    def __enter__(self) -> list[str]:
        self._begun = time.monotonic()
        return self._step.__enter__()

    def __exit__(self, *failure: Any) -> None:
        self._done.seconds[self._name] = round(time.monotonic() - self._begun, 3)
        self._step.__exit__(*failure)


def without_archiving(stack: Kit) -> Any:
    """PostgreSQL's program that hands nothing on."""
    program = parts.postgres(stack)
    return replace(program, command=(*program.command, "-c", "archive_mode=off"))


def names_of(missing: Sequence[str]) -> str:
    """The first of what is missing, for a sentence."""
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return "; ".join(missing[:3]) + more
