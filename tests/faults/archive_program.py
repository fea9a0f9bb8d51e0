"""Archives and deletes what is expired, as `cleanup` does, and dies at the n-th boundary: driven by the test.

Each line of its input is `URL STORE NUMBER RUN TABLE` (tickets, or visits with its partitions). For each it forks (what
is imported need not be imported again), and the child carries `cleanup` out and is killed at that boundary by SIGKILL,
without a word; 0: at none. A boundary is before or after a call of a port that changes something. Archives are files in
STORE, and so is the ledger: both outlive the child. Answers with the child's status and the boundaries it passed.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fixtures_rows import NOW, tickets_policy, visits_policy

from blocks import parquet_child
from blocks.backup_keys import lock_away, make_identity, open_again, recipient_of
from blocks.clock import MemoryClock
from blocks.memory_cleaning import MemoryArchives
from blocks.memory_ledger import MemoryLedger
from blocks.memory_world import MemoryWorld
from blocks.rows_postgres import PostgresRows
from blocks.world import use_world
from domain.ledger import Event
from domain.ports_cleanup import CopiedTable, Locked
from flows.cleanup import _treat  # pyright: ignore[reportPrivateUsage]
from tasks import archive
from tasks.recording import without_engine

CHANGES = ("append", "put", "keep", "pack", "unpack", "lock", "copy_batch", "delete_archived")
CHANGES += ("copy_partition", "drop_partition")
ARCHIVE_ROWS = 40


class Boundaries:
    """Counts the boundaries that are passed, and dies at one of them."""

    def __init__(self, number: int) -> None:
        self.passed, self._number = 0, number

    def watch(self, target: Any) -> None:
        for name in CHANGES:
            if (call := getattr(target, name, None)) is not None:
                setattr(target, name, self._wrapped(call))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            self._pass()
            value = call(*given, **named)
            self._pass()
            return value

        return wrapped

    def _pass(self) -> None:
        self.passed += 1
        if self.passed == self._number:
            os.kill(os.getpid(), signal.SIGKILL)


class FileArchives(MemoryArchives):
    """Archives as files, packed as Parquet and encrypted by the code of the real program."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        identity = folder / "identity"
        if not identity.exists():
            identity.write_text(make_identity())
        self._identity = identity.read_text()

    def lock(self, file: Path, to: Path) -> Locked:
        once = make_identity()
        lock_away(file, to, recipient_of(self._identity), recipient_of(once))
        return Locked(to, "age", partial(open_again, identity=once))

    def open(self, file: Path, to: Path) -> None:
        open_again(file, to, self._identity)

    def pack(self, table: CopiedTable, to: Path) -> int:
        told = {"columns": [list(one) for one in table.columns], "about": {}}
        return parquet_child.pack(str(table.file), str(to), told)

    def unpack(self, file: Path, to: Path) -> int:
        return parquet_child.unpack(str(file), str(to))

    def _path(self, key: str) -> Path:
        return self._folder / key.replace("/", "~")

    def put(self, key: str, path: Path, *, sha256: str) -> None:
        self._load(key)
        super().put(key, path, sha256=sha256)
        self._save(key)

    def get(self, key: str, path: Path, *, sha256: str) -> None:
        self._load(key)
        super().get(key, path, sha256=sha256)

    def keep(self, key: str, content: bytes) -> None:
        self._load(key)
        super().keep(key, content)
        self._save(key)

    def read(self, key: str) -> bytes | None:
        self._load(key)
        return super().read(key)

    def _load(self, key: str) -> None:
        if self._path(key).exists():
            self.blobs[key] = self._path(key).read_bytes()

    def _save(self, key: str) -> None:
        draft = self._path(key).with_suffix(".draft")
        draft.write_bytes(self.blobs[key])
        draft.replace(self._path(key))


class FileLedger(MemoryLedger):
    """A ledger whose events outlive the process."""

    def __init__(self, path: Path) -> None:
        super().__init__(lambda: NOW)
        self._file = path
        for line in path.read_text().splitlines() if path.exists() else []:
            super().append(Event(**json.loads(line)))

    def append(self, event: Event) -> Any:
        known = len(self.entries())
        entry = super().append(event)
        if len(self.entries()) > known:
            fields = {name: getattr(entry.event, name) for name in Event.__dataclass_fields__}
            with self._file.open("a") as file:
                file.write(json.dumps(fields) + "\n")
        return entry


def clean(url: str, store: Path, number: int, run: str, table: str) -> int:
    """One run of the policy, in this process; returns the boundaries that it passed."""
    archive.ARCHIVE_ROWS = ARCHIVE_ROWS
    make = tickets_policy if table == "tickets" else visits_policy
    policy = make(archive=True, batch_rows=15, share_percent_max=30)
    world = MemoryWorld(clock=MemoryClock(NOW))
    world.ledger = FileLedger(store / "ledger.jsonl")
    archives, rows = FileArchives(store), PostgresRows(lambda: url)
    world.cleaning.archives = archives
    world.cleaning.databases["slipway", ""] = rows  # type: ignore[assignment]
    world.cleaning.own_policies = json.dumps({"cleanup": [policy.model_dump(mode="json")]})
    use_world(lambda: world)
    if not world.ledger.entries(kinds=["cleanup.approved"]):
        told = {"policy": policy.name, "policy_hash": policy.hash, "plan_hash": "", "share_percent": 0.0}
        world.ledger.append(Event("cleanup.approved", application="slipway", actor="ann", data=told))
    boundaries = Boundaries(number)
    for one in (world.ledger, archives, rows):
        boundaries.watch(one)
    with without_engine():
        outcome = _treat(run, ["slipway", "", policy.name, ""], dry_run=False)
    assert not outcome["problem"], outcome["problem"]
    return boundaries.passed


def main() -> None:
    for line in sys.stdin:
        url, store, number, run, table = line.split()
        child = os.fork()
        if child == 0:
            passed = clean(url, Path(store), int(number), run, table)
            (Path(store) / "passed").write_text(str(passed))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        passed = 0 if status else int((Path(store) / "passed").read_text())
        print(
            json.dumps({"killed": killed, "code": 0 if killed else os.waitstatus_to_exitcode(status), "passed": passed})
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
