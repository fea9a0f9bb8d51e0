"""Exchanges an application's database for a restored one, on the server where the ledger and Prefect go on.

Called by `restore` through `domain.ports_restore`. What is restored is dumped from the scratch server, loaded beside
the live database as the application's own role (functions that its constraints call get no superuser), compared row
by row, and renamed in one transaction: at no moment is there no database of that name, and a process that dies leaves
names as they were. What became of a database stands in its comment, which stays with it under any name.
"""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from blocks.backup_server import BackupServer
from blocks.bundle import sha256_of
from blocks.database_comparison import compare_databases
from blocks.database_outside import Outside, create_database, finish_database, read_outside
from blocks.fingerprint_postgres import read_database
from blocks.identity import clean_environment
from domain.canonical import digest_of
from domain.errors import ConfigError, InvariantError, TransientError
from domain.fingerprint import Fingerprint, compare_fingerprints, name_differences, read_fingerprint
from domain.restore import (
    Comparison,
    Database,
    Databases,
    LeftOver,
    Reach,
    beside_name,
    database_name,
    kept_name,
)

_ARCHIVED_LIMIT_S = 90.0
_TOOL_LIMIT_S = 6 * 3600.0
_SESSIONS_LIMIT_S = 30.0
_POLL_S = 0.2
_JOBS = 2
_FACTS, _OUTSIDE, _DUMP = "facts.json", "outside.json", "dump"
_NAMES = re.compile(r"(?P<place>[a-z0-9-]+_[a-z0-9-]+)_(?P<what>restored|before)_(?P<key>[A-Za-z0-9]{1,8})")
_OF_SUPERUSER = re.compile(r"^\d+; \d+ \d+ (EXTENSION - |COMMENT - EXTENSION )")


@dataclass(frozen=True)
class PostgresRestorations:
    """Fulfils `domain.ports_restore.Restorations`.

    Attributes:
        url: a superuser's URL of a database of the server.
        role_url: the URL of an application's database, as its own role.
        binaries: the folder with `pg_dump` and `pg_restore`.
        folder: where what was extracted rests; readable by us alone.
    """

    url: Callable[[str], str]
    role_url: Callable[[str, str], str]
    binaries: Path
    folder: Path

    def mark(self, name: str) -> Reach:
        with self._session() as session:
            row = session.execute("SELECT clock_timestamp()").fetchone()
            # recovery to a moment stops at the first commit after it: without one it would never get there
            session.execute("SELECT pg_current_xact_id()")
        assert row is not None
        lsn, segment = BackupServer(lambda: self.url("postgres")).mark(name)
        self._await_archived(segment)
        return Reach(lsn, row[0].astimezone(UTC), name)

    def position(self) -> str:
        with self._session() as session:
            row = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        return str(row[0]) if row else ""

    def find(self, application: str, environment: str) -> Databases:
        name = database_name(application, environment)
        found = [one for one in self._databases() if one.name == name or _place_of(one.name) == name]
        live = next((one for one in found if one.name == name), None)
        return Databases(live, _by_key(found, "restored"), _by_key(found, "before"))

    def compare(self, application: str, environment: str, *, source: str = "", kept: str = "") -> Comparison:
        name, found = database_name(application, environment), self.find(application, environment)
        now = (self.url("postgres"), name) if found.live else None
        then = (source, name) if source else (self.url("postgres"), kept_name(application, environment, kept))
        try:
            return compare_databases(now, then)
        except psycopg.Error as exc:
            raise InvariantError(f"{then[1]} can't be read: {_first_line(exc)}") from exc

    def extract(self, application: str, environment: str, *, source: str, key: str) -> Fingerprint:
        name, folder = database_name(application, environment), self._folder(key)
        self.forget(key)
        folder.mkdir(parents=True, mode=0o700)
        try:
            outside = read_outside(source, name)
            if outside is None:
                raise ConfigError(f"There was no database {name} at that moment. Name another one.")
            content = read_database(source, name, label=name)
        except psycopg.Error as exc:
            raise InvariantError(f"{name} can't be read where it was restored: {_first_line(exc)}") from exc
        conninfo = make_conninfo(source, dbname=name)
        words = ["--format=directory", f"--jobs={_JOBS}", "--compress=1", "--no-password", f"--file={folder / _DUMP}"]
        self._run("pg_dump", [*words, f"--dbname={conninfo}"], {})
        self._write(folder / _OUTSIDE, {**outside.as_dict(), "content": content.as_dict(), "files": _hashes(folder)})
        return content

    def remember(self, key: str, facts: Mapping[str, Any]) -> None:
        self._write(self._folder(key) / _FACTS, facts)

    def recall(self, key: str) -> Mapping[str, Any] | None:
        path = self._folder(key) / _FACTS
        return json.loads(path.read_text()) if path.is_file() else None

    def forget(self, key: str) -> None:
        folder = self._folder(key)
        with suppress(FileNotFoundError):
            (folder / _FACTS).unlink()  # first: what has no facts is not complete
        shutil.rmtree(folder, ignore_errors=True)

    def load(
        self,
        application: str,
        environment: str,
        *,
        key: str,
        on_progress: Callable[[float], None] = lambda percent: None,
    ) -> Fingerprint:
        folder, beside = self._folder(key), beside_name(application, environment, key)
        if not (folder / _OUTSIDE).is_file():
            raise ConfigError(f"What was restored is not in {folder} any more. Start `restore` again.")
        kept = json.loads((folder / _OUTSIDE).read_text())
        content, outside = read_fingerprint(kept["content"]), Outside.read(kept)
        found = self.find(application, environment)
        if found.is_live(key) or (key in found.beside and found.beside[key].restored_by == key):
            return content
        if _hashes(folder) != kept["files"]:
            raise InvariantError(
                f"The files in {folder / _DUMP} are not those that were proven. Start `restore` again."
            )
        self._drop(beside)
        try:
            self._fill(application, environment, beside, folder, outside, on_progress)
            found = read_database(self.url("postgres"), beside, label=database_name(application, environment))
        except psycopg.Error as exc:
            raise InvariantError(f"{beside} can't be loaded: {_first_line(exc)}") from exc
        if differences := _compare(content, found):
            self._drop(beside)
            raise InvariantError(f"What was loaded is not what was restored: {differences}. Nothing was exchanged.")
        told = {"restored": key, "digest": digest_of(content.as_dict()), "at": datetime.now(UTC).isoformat()}
        with self._session() as session:
            _comment(session, beside, told)
        return content

    def exchange(self, application: str, environment: str, *, key: str, kept: str = "") -> None:
        name, found = database_name(application, environment), self.find(application, environment)
        if found.is_live(key):
            return
        coming = found.kept.get(kept) if kept else found.beside.get(key)
        if coming is None or not (kept or coming.restored_by == key):
            what = f"kept as {kept_name(application, environment, kept)}" if kept else "loaded and proven beside"
            raise ConfigError(f"Nothing is {what} that could take the name {name}. Start `restore` again.")
        with self._session() as session, self._ended_sessions([name, coming.name], session.info.backend_pid):
            try:
                with session.transaction():
                    session.execute("SELECT set_config('lock_timeout', %s, true)", (f"{_SESSIONS_LIMIT_S:.0f}s",))
                    self._rename(session, found, coming, application, environment, key)
            except psycopg.Error as exc:
                raise TransientError(f"{name} could not be exchanged: {_first_line(exc)} It is as it was.") from exc

    def verify(self, application: str, environment: str) -> str:
        try:
            with psycopg.connect(self.role_url(application, environment), connect_timeout=10) as connection:
                connection.execute("SELECT count(*) FROM pg_class").fetchone()
        except psycopg.Error as exc:
            return _first_line(exc)
        return ""

    def drop(self, application: str, environment: str, *, key: str, kept: bool) -> None:
        self._drop((kept_name if kept else beside_name)(application, environment, key))

    def left_over(self) -> Sequence[LeftOver]:
        files = sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []
        databases = [match for one in self._databases() if (match := _NAMES.fullmatch(one.name))]
        beside = [one for one in databases if one["what"] == "restored"]
        return [
            *(LeftOver(key) for key in files),
            *(LeftOver(one["key"], *one["place"].split("_")) for one in beside),
        ]

    # the parts ------------------------------------------------------------------------------------------------------

    def _fill(
        self,
        application: str,
        environment: str,
        beside: str,
        folder: Path,
        outside: Outside,
        on_progress: Callable[[float], None],
    ) -> None:
        """Load the dump as the application's role; what only a superuser may do is done before and after."""
        role = conninfo_to_dict(self.role_url(application, environment))
        owner = str(role["user"])
        made = create_database(self.url("postgres"), beside, owner, outside)
        listed = self._run("pg_restore", ["--list", str(folder / _DUMP)], {})
        wanted = [line for line in listed.splitlines() if not _OF_SUPERUSER.match(line) and not _is_made(line, made)]
        (folder / "list").write_text("\n".join(wanted) + "\n")
        words = ["--exit-on-error", "--no-owner", "--no-subscriptions", f"--jobs={_JOBS}", "--no-password"]
        words += [f"--use-list={folder / 'list'}", f"--host={role['host']}", f"--port={role['port']}"]
        words += [f"--username={owner}", f"--dbname={beside}", str(folder / _DUMP)]
        secret = {"PGPASSWORD": str(role["password"])}
        self._run("pg_restore", words, secret, look=lambda: on_progress(self._progress(beside, outside.size_bytes)))
        finish_database(self.url(beside), beside, outside)

    def _progress(self, name: str, size_bytes: int) -> float:
        found = self._find_database(name)
        return min(99.0, 100 * found.size_bytes / size_bytes) if found and size_bytes else 0.0

    @staticmethod
    def _rename(
        session: psycopg.Connection,
        found: Databases,
        coming: Database,
        application: str,
        environment: str,
        key: str,
    ) -> None:
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        name, now = database_name(application, environment), datetime.now(UTC).isoformat()
        if found.live:
            former = kept_name(application, environment, key)
            session.execute(rename.format(sql.Identifier(name), sql.Identifier(former)))
            _comment(session, former, {**found.live.facts, "live_since": "", "kept_by": key, "kept_at": now})
        session.execute(rename.format(sql.Identifier(coming.name), sql.Identifier(name)))
        _comment(session, name, {**coming.facts, "live_since": key, "live_at": now})
        if found.live:
            grants = session.execute(
                "SELECT a.grantee::regrole::text, a.privilege_type FROM pg_database d CROSS JOIN LATERAL "
                "aclexplode(d.datacl) a WHERE d.oid = %s::oid AND a.grantee <> d.datdba AND a.grantee <> 0",
                (found.live.identity,),
            ).fetchall()
            for role, privilege in grants:  # regrole quotes where that is needed
                session.execute(
                    sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
                        sql.SQL(privilege), sql.Identifier(name), sql.SQL(role)
                    )
                )

    @contextmanager
    def _ended_sessions(self, names: list[str], but: int) -> Generator[None]:
        """End whoever is in these databases, again and again: while the names change, nobody new gets in."""
        done = threading.Event()

        def end() -> None:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY(%s) AND pid <> %s"
            with suppress(psycopg.Error, TransientError), self._session() as session:
                while not done.is_set():
                    session.execute(query, (names, but))
                    done.wait(0.05)

        helper = threading.Thread(target=end, name="ends sessions", daemon=True)
        helper.start()
        try:
            yield
        finally:
            done.set()
            helper.join(timeout=10)

    def _await_archived(self, segment: str) -> None:
        deadline = time.monotonic() + _ARCHIVED_LIMIT_S
        while True:
            with self._session() as session:
                row = session.execute("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver").fetchone()
            if row and str(row[0])[:24] >= segment:
                return
            if time.monotonic() > deadline:
                raise TransientError(
                    f"Segment {segment} of the log is not archived after {_ARCHIVED_LIMIT_S:.0f} s. See why: "
                    "`slipway backup status`."
                )
            time.sleep(_POLL_S)

    def _databases(self) -> list[Database]:
        with self._session() as session:
            rows = session.execute(
                "SELECT datname, oid::text, pg_database_size(oid), coalesce(shobj_description(oid, 'pg_database'), '') "
                "FROM pg_database WHERE NOT datistemplate ORDER BY datname"
            ).fetchall()
        return [Database(str(name), str(oid), int(size), _read_facts(told)) for name, oid, size, told in rows]

    def _find_database(self, name: str) -> Database | None:
        return next((one for one in self._databases() if one.name == name), None)

    def _drop(self, name: str) -> None:
        with self._session() as session:
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def _session(self) -> Generator[psycopg.Connection[Any]]:
        try:
            connection = psycopg.connect(self.url("postgres"), connect_timeout=5, autocommit=True)
        except psycopg.OperationalError as exc:
            raise TransientError(f"PostgreSQL does not answer: {_first_line(exc)}. Look at `slipway status`.") from exc
        with connection:
            yield connection

    def _run(
        self,
        tool: str,
        words: Sequence[str],
        secret: Mapping[str, str],
        *,
        look: Callable[[], None] = lambda: None,
    ) -> str:
        """Run a tool to its end, looking now and then; returns what it said. Passwords travel in the environment."""
        with (
            subprocess.Popen(
                [str(self.binaries / tool), *words],
                env=clean_environment(dict(secret)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
            _watched(process, look),
        ):
            said = process.stdout.read() if process.stdout else ""
        if process.returncode:
            raise InvariantError(f"{tool} ended with {process.returncode}: {said.strip()[-300:]}")
        return said

    def _folder(self, key: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9]{1,8}", key):
            raise ConfigError(f"{key[:40]!r} is no key of a restore. `slipway restore kept` lists them.")
        return self.folder / key

    @staticmethod
    def _write(path: Path, facts: Mapping[str, Any]) -> None:
        draft = path.with_name(f".{path.name}.draft")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(facts, file)
        draft.replace(path)


@contextmanager
def _watched(process: subprocess.Popen[str], look: Callable[[], None]) -> Generator[None]:
    """Look every second while a process works, and end it at the limit."""
    done, deadline = threading.Event(), time.monotonic() + _TOOL_LIMIT_S

    def watch() -> None:
        while not done.wait(1.0):
            if time.monotonic() > deadline:
                process.kill()
            with suppress(TransientError, psycopg.Error):
                look()

    watcher = threading.Thread(target=watch, name="watches a tool", daemon=True)
    watcher.start()
    try:
        yield
        process.wait()
    except BaseException:
        process.kill()
        raise
    finally:
        done.set()
        watcher.join(timeout=5)


def _compare(expected: Fingerprint, found: Fingerprint) -> str:
    """Name what differs; empty where nothing does. Unlike after a recovery, sequences are exactly where they were."""
    moved = [name for name, value in expected.sequences.items() if found.sequences.get(name) != value]
    return name_differences(compare_fingerprints(expected, found)) or ", ".join(
        f"sequence {name}" for name in moved[:5]
    )


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted((folder / _DUMP).iterdir())}


def _is_made(line: str, schemas: Sequence[str]) -> bool:
    return any(re.match(rf"^\d+; 2615 \d+ SCHEMA - {re.escape(name)} ", line) for name in schemas)


def _by_key(found: Sequence[Database], what: str) -> dict[str, Database]:
    matches = [(one, _NAMES.fullmatch(one.name)) for one in found]
    return {match["key"]: one for one, match in matches if match and match["what"] == what}


def _place_of(name: str) -> str:
    match = _NAMES.fullmatch(name)
    return match["place"] if match else ""


def _comment(session: psycopg.Connection[Any], name: str, facts: Mapping[str, Any]) -> None:
    words = json.dumps({"slipway": dict(facts)})
    session.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(words)))


def _read_facts(told: str) -> dict[str, Any]:
    with suppress(ValueError, TypeError, KeyError):
        return dict(json.loads(told)["slipway"])
    return {}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0][:200]
