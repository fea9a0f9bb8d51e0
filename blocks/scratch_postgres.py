"""Scratch servers: a restored data folder, started where nobody else reaches it, looked into, and destroyed.

Called by `restore_drill` and `restore`. Such a server listens on a socket in a folder of its own and on no port, lets
in only us, archives nothing, and has none of the restored settings: no cron, no subscription, no library, no hook of
the source runs again. It is a daemon with a name, so that each step of a drill finds it, and so that the next drill
finds what a killed one left.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from blocks.expectations import ExpectationsChild, run_expectations
from blocks.fingerprint_postgres import TOOL_SCHEMA, databases, read_restored
from blocks.identity import as_user, clean_environment, give, give_all
from blocks.ledger_postgres import PostgresLedger
from blocks.postgres_server import SUPERUSER
from blocks.postgres_session import LEDGER_DATABASE, PostgresSession
from blocks.postgres_tools import Answer, probe_tool, run_tool
from blocks.rules_postgres import judge_rules
from domain.canonical import sha256_hex
from domain.drill import Check, Damage, failed, passed, unavailable
from domain.errors import ConfigError, InvariantError, TransientError
from domain.fingerprint import Fingerprint
from domain.ports import Ledger
from domain.ports_backup import Recovery
from domain.ports_drill import Findings, Recovered

PORT = 5432
_TOOL_LIMIT_S = 3600
_UNIQUE_SINCE = 17
_STOP_LIMIT_S = 60
_PAGE_BYTES = 8192
_NAME = re.compile(r"[\w.-]{1,80}")
_LEAST = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
}
"""What a server in recovery must have at least as large as its source: by the name that pg_controldata gives it."""


_waiting: dict[str, ExpectationsChild] = {}
"""Children with Great Expectations that were started ahead, by the folder of their server; `destroy` ends them."""


@dataclass(frozen=True)
class PostgresScratch:
    """Fulfils `domain.ports_drill.Scratch`.

    Attributes:
        folder: where the servers' files are; `user` can enter it.
        sockets: a short private folder.
        binaries: the folder with `postgres` and its tools.
        user: whom the servers run as; None: ourselves.
        data_python: makes, at first use, the interpreter that has Great Expectations.
    """

    folder: Path
    sockets: Path
    binaries: Path
    user: str | None
    data_python: Callable[[], Path]

    def free_bytes(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free

    def prepare(self, name: str) -> Path:
        root = self._root(name)
        child = _waiting.pop(str(root), None)
        self.destroy(name)
        if child:
            _waiting[str(root)] = child
        root.mkdir(parents=True)
        root.chmod(0o711)
        for path in (root / "data", self._socket(name)):
            path.mkdir(parents=True)
            give(path, self.user, mode=0o700)
        return root / "data"

    def start(self, name: str, recovery: Recovery, *, limit_s: float) -> Recovered:
        begun = time.monotonic()
        data = self._root(name) / "data"
        self._refuse_foreign_binaries(data)
        self._configure(name, recovery)
        log = self._root(name) / "server.log"
        with log.open("ab") as output, suppress(subprocess.TimeoutExpired):  # recovery is waited for below
            # pg_ctl, because what it starts is a daemon that outlives us and that nobody has to wait for
            subprocess.run(
                [
                    str(self.binaries / "pg_ctl"),
                    "-D",
                    str(data),
                    "-s",
                    "-W",
                    "start",
                    "-o",
                    "-c config_file=../scratch.conf",
                ],
                cwd=data,
                env=clean_environment(recovery.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                timeout=60,
                **as_user(self.user),
            )
        return self._wait_recovered(name, begun, limit_s=limit_s)

    def check_backup(self, name: str) -> Check:
        data, check = self._root(name) / "data", "integrity.postgres"
        if not (data / "backup_manifest").is_file():
            return unavailable(check, "this engine keeps no manifest of PostgreSQL")
        # the log is not in the folder yet: recovery fetches it, and proves it by replaying it
        return self._judge_tool(
            check,
            "pg_verifybackup",
            data,
            ["--no-parse-wal", "--quiet", str(data)],
            bad_codes={1},
            passed_text="verified",
        )

    def fingerprint(self, name: str) -> Fingerprint:
        try:
            return read_restored(self._conninfo(name))
        except psycopg.OperationalError as exc:
            raise InvariantError(f"The restored server fell over while it was read: {_first_line(exc)}") from exc
        except (psycopg.Error, UnicodeError) as exc:
            raise InvariantError(f"Something restored can't be read: {_first_line(exc)}") from exc

    def address(self, name: str) -> str:
        return self._conninfo(name)

    def check_indexes(self, name: str) -> Check:
        data, check = self._root(name) / "data", "pages.indexes"
        try:
            with psycopg.connect(self._conninfo(name), autocommit=True) as connection:
                known = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").fetchone()
                names = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
            if known is None:
                return unavailable(check, "this PostgreSQL has no extension amcheck")
            for (database,) in names:
                self._make_tool_schema(name, str(database))
        except psycopg.Error as exc:
            return failed(check, "server_fell", error=_first_line(exc))
        words = ["--all", "--heapallindexed", f"--install-missing={TOOL_SCHEMA}", "--jobs=2", "--no-password"]
        words += ["--checkunique"] if _major(data) >= _UNIQUE_SINCE else []
        words += [f"--host={self._socket(name)}", f"--port={PORT}", f"--username={SUPERUSER}"]
        return self._judge_tool(check, "pg_amcheck", data, words, bad_codes={2}, passed_text="indexes_good")

    def _make_tool_schema(self, name: str, database: str) -> None:
        """A schema for what drills install, of the kind that no fingerprint looks at: one is taken meanwhile."""
        info = make_conninfo(self._conninfo(name), dbname=database)
        with psycopg.connect(info, autocommit=True) as connection:
            connection.execute("SET allow_system_table_mods = on")
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(TOOL_SCHEMA)))

    def check_rules(self, name: str) -> Sequence[Check]:
        check, begun = "expectations.rules", time.monotonic()
        try:
            found = judge_rules(self._conninfo(name), databases(self._conninfo(name)))
        except (psycopg.Error, UnicodeError) as exc:
            return [failed(check, "server_fell", error=_first_line(exc))]
        seconds, broken = time.monotonic() - begun, "; ".join(found.broken[:4])
        if found.broken:
            return [failed(check, "rules_broken", seconds=seconds, broken=broken[:500])]
        if found.unread:
            return [unavailable(check, "; ".join(found.unread[:3]), seconds=seconds)]
        counts = {"foreign": found.foreign, "checks": found.checks, "sequences": found.sequences}
        return [passed(check, "rules_kept", seconds=seconds, **counts)]

    def check_pages(self, name: str) -> Check:
        data, check = self._root(name) / "data", "pages.checksums"
        if fallen := self._fallen(name):
            return failed(check, "server_fell", error=fallen)
        with suppress(OSError, subprocess.TimeoutExpired):
            stop = [str(self.binaries / "pg_ctl"), "-D", str(data), "-s", "-w", "-m", "fast", "stop"]
            run_tool([*stop, "-t", str(_STOP_LIMIT_S)], user=self.user, limit_s=_STOP_LIMIT_S + 30)
        if self._control(data).get("Data page checksum version", "0") == "0":
            return unavailable(check, "the cluster has no page checksums; enable them with pg_checksums --enable")
        return self._judge_tool(
            check, "pg_checksums", data, ["--check", "-D", str(data)], bad_codes={1}, passed_text="pages_good"
        )

    def expect(self, name: str, database: str, suites: Mapping[str, Any], *, limit_s: float) -> Findings:
        place = {"socket": str(self._socket(name)), "port": PORT, "user": SUPERUSER, "database": database}
        child = _waiting.get(str(self._root(name)))
        return run_expectations(self.data_python, place, suites, user=self.user, limit_s=limit_s, child=child)

    def await_expectations(self, name: str) -> None:
        root = str(self._root(name))
        if root not in _waiting:
            _waiting[root] = ExpectationsChild(self.data_python(), user=self.user)

    def texts(self, name: str, database: str, table: str, column: str) -> Sequence[str]:
        query = SQL("SELECT DISTINCT {column}::text FROM {table} WHERE {column} IS NOT NULL").format(
            column=Identifier(column), table=Identifier(*table.split("."))
        )
        try:
            with psycopg.connect(self._conninfo(name), dbname=database, autocommit=True) as connection:
                return [str(row[0]) for row in connection.execute(query)]
        except psycopg.OperationalError as exc:
            raise ConfigError(f"'{database}' of the restored server can't be asked: {_first_line(exc)}") from exc
        except psycopg.Error as exc:
            raise ConfigError(f"'{database}' of the restored server: {_first_line(exc)}") from exc

    def url(self, name: str) -> str:
        """How its superuser gets in, without a password: through the socket in a private folder."""
        return self._conninfo(name)

    def ledger(self, name: str) -> Ledger:
        return PostgresLedger(PostgresSession(make_conninfo(self._conninfo(name), dbname=LEDGER_DATABASE)))

    def damage(self, name: str, kind: Damage) -> str:
        """Damage the largest file of an application's table, as a bad disk would; a manifest is damaged elsewhere."""
        files = [path for path in (self._root(name) / "data" / "base").glob("*/*") if path.name.isdigit()]
        if not files:
            raise ConfigError(f"Nothing of '{name}' was restored that could be damaged.")
        victim = max(files, key=lambda path: (path.stat().st_size, str(path)))
        size = victim.stat().st_size
        if kind is Damage.TRUNCATED:
            os.truncate(victim, size // 2 // _PAGE_BYTES * _PAGE_BYTES)
            return f"{victim.parent.name}/{victim.name} cut in half"
        # many pages, because the log may hold a whole copy of some, which heals them
        places = sorted({size * part // 16 // _PAGE_BYTES * _PAGE_BYTES + _PAGE_BYTES // 2 for part in range(16)})
        with victim.open("r+b") as file:
            for place in places:
                file.seek(place)
                byte = file.read(1)
                file.seek(place)
                file.write(bytes([byte[0] ^ 0xFF]))
        return f"a byte in {len(places)} pages of {victim.parent.name}/{victim.name} flipped"

    def destroy(self, name: str) -> None:
        root = self._root(name)
        if child := _waiting.pop(str(root), None):
            child.end()
        _end_processes(root / "data")
        shutil.rmtree(self._socket(name), ignore_errors=True)
        if root.exists():
            shutil.rmtree(root)

    def leftovers(self) -> Sequence[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []

    def _judge_tool(
        self, check: str, tool: str, data: Path, words: Sequence[str], *, bad_codes: set[int], passed_text: str
    ) -> Check:
        """Run one tool; what it finds bad fails, what gives no answer is unavailable, and only a yes passes."""
        begun = time.monotonic()
        if reason := probe_tool(self.binaries, tool, major=_major(data), user=self.user):
            return unavailable(check, reason)
        try:
            answer = run_tool([str(self.binaries / tool), *words], user=self.user, limit_s=_TOOL_LIMIT_S)
        except (OSError, subprocess.TimeoutExpired) as exc:
            return unavailable(check, f"{tool} gave no answer: {str(exc)[:120]}")
        seconds = time.monotonic() - begun
        if answer.code == 0:
            return passed(check, passed_text, seconds=seconds, detail=_counts(answer))
        if answer.code in bad_codes:
            return failed(check, "tool_found", seconds=seconds, tool=tool, found=_worst_lines(answer))
        return unavailable(check, f"{tool} ended with {answer.code}: {answer.last_line}", seconds=seconds)

    def _refuse_foreign_binaries(self, data: Path) -> None:
        if reason := probe_tool(self.binaries, "postgres", major=_major(data), user=self.user):
            raise InvariantError(f"The backup can't be started here: {reason}.")

    def _configure(self, name: str, recovery: Recovery) -> None:
        root = self._root(name)
        settings = {
            **self._least(root / "data"),
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(self._socket(name)),
            "unix_socket_permissions": "0700",
            "hba_file": str(root / "pg_hba.conf"),
            "ident_file": str(root / "pg_ident.conf"),
            "external_pid_file": "",
            "archive_mode": "off",
            "archive_library": "",
            "shared_preload_libraries": "",
            "session_preload_libraries": "",
            "local_preload_libraries": "",
            "max_logical_replication_workers": "0",
            "autovacuum": "off",
            "hot_standby": "on",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "synchronous_standby_names": "",
            "primary_conninfo": "",
            "ssl": "off",
            "logging_collector": "off",
            "log_destination": "stderr",
            "event_triggers": "off",
            "shared_buffers": "64MB",
            "huge_pages": "off",
            **recovery.settings,
            "recovery_target_action": "promote",
        }
        lines = [f"{key} = '{_quote(value)}'" for key, value in settings.items() if _is_known(key, root / "data")]
        names = {self.user or "", pwd.getpwuid(os.geteuid()).pw_name} - {""}
        self._write(root / "scratch.conf", "\n".join(lines))
        self._write(root / "pg_hba.conf", "local all all peer map=drill")
        self._write(root / "pg_ident.conf", "\n".join(f'drill "{one}" {SUPERUSER}' for one in sorted(names)))
        # what ALTER SYSTEM had set would be stronger than all of this
        self._write(root / "data" / "postgresql.auto.conf", "")
        give_all(root / "data", self.user)

    def _write(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n" if text else "")
        give(path, self.user)

    def _least(self, data: Path) -> dict[str, str]:
        control = self._control(data)
        return {setting: control[name] for setting, name in _LEAST.items() if name in control}

    def _control(self, data: Path) -> dict[str, str]:
        with suppress(OSError, subprocess.TimeoutExpired):
            answer = run_tool([str(self.binaries / "pg_controldata"), str(data)], user=self.user, limit_s=30)
            pairs = (line.partition(":") for line in answer.words.splitlines() if ":" in line)
            return {name.strip(): value.strip() for name, _, value in pairs}
        return {}

    def _wait_recovered(self, name: str, begun: float, *, limit_s: float) -> Recovered:
        """Poll until recovery is over: that a connection works only says that the server may be read."""
        data = self._root(name) / "data"
        while True:
            if (told := self._ask_recovery(name)) is not None:
                return Recovered(told[0], time.monotonic() - begun, told[1])
            if not _processes_in(data):
                raise InvariantError(f"The restored server ended: {self._last_words(name)}")
            if time.monotonic() - begun > limit_s:
                raise TransientError(f"Recovery did not end in {limit_s:.0f} s: {self._last_words(name)}")
            time.sleep(0.05)

    def _ask_recovery(self, name: str) -> tuple[str, str] | None:
        """How far the server came, and its last commit; None while it starts or recovers.

        Raises: InvariantError where it answers that it can't read itself.
        """
        question = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()::text, pg_last_xact_replay_timestamp()"
        try:
            with psycopg.connect(self._conninfo(name), autocommit=True) as connection:
                row = connection.execute(question).fetchone()
        except psycopg.OperationalError:
            return None
        except psycopg.Error as exc:
            raise InvariantError(f"The restored server can't be read: {_first_line(exc)}") from exc
        if row is None or row[0]:
            return None
        return str(row[1] or ""), row[2].isoformat() if row[2] else ""

    def _fallen(self, name: str) -> str:
        """What the log says of a process that a signal ended, or of a panic: nobody but damage does that here."""
        log = self._root(name) / "server.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return next((line[-300:] for line in lines if re.search(r"terminated by signal|PANIC: ", line)), "")

    def _last_words(self, name: str) -> str:
        log = self._root(name) / "server.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        telling = [line for line in lines if re.search(r"FATAL|PANIC|ERROR|could not|invalid", line)]
        return (
            " / ".join(line.partition("] ")[2] or line for line in (telling or lines)[-3:])[:400] or "it said nothing"
        )

    def _conninfo(self, name: str) -> str:
        return make_conninfo(
            host=str(self._socket(name)), port=PORT, user=SUPERUSER, dbname="postgres", connect_timeout=10
        )

    def _root(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"'{name[:80]}' names no scratch server. Use letters, digits, dots and dashes.")
        return self.folder / name

    def _socket(self, name: str) -> Path:
        # short: the path of a socket may have a hundred bytes
        return self.sockets / f"drill-{sha256_hex(str(self._root(name)))[:10]}"


def _quote(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _is_known(setting: str, data: Path) -> bool:
    return setting != "event_triggers" or _major(data) >= 17


def _major(data: Path) -> int:
    try:
        return int((data / "PG_VERSION").read_text().strip().partition(".")[0])
    except (OSError, ValueError):
        return 0


def _processes_in(data: Path) -> list[psutil.Process]:
    """The processes of the server of a data folder; PostgreSQL works in it, whoever started it."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name().startswith("postgres") and Path(process.cwd()) == data:
                found.append(process)
    return found


def _end_processes(data: Path) -> None:
    found = _processes_in(data)
    postmasters = [one for one in found if one.pid not in {child.pid for p in found for child in _children(p)}]
    for process in postmasters:
        with suppress(psutil.Error):
            process.send_signal(signal.SIGQUIT)
    _, alive = psutil.wait_procs(found, timeout=_STOP_LIMIT_S)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=10)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.Error:
        return []


def _counts(answer: Answer) -> str:
    """The figures that a tool gave, such as files and blocks scanned."""
    found = re.findall(r"^(Files scanned|Blocks scanned):\s+(\d+)", answer.words, re.MULTILINE)
    return ", ".join(f"{name.lower()} {count}" for name, count in found) or "nothing found"


def _worst_lines(answer: Answer) -> str:
    lines = [line.strip() for line in answer.words.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|failed|ERROR|corrupt|Bad checksums|mismatch|lacks", line)]
    return " / ".join((telling or lines)[:3])[:400]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0][:200]
