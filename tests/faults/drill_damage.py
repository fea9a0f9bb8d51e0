"""Damage at random: a series without end of things that can happen to what is kept, each made from a seed.

The small series of `test_drill_fuzz.py` and the long one of `python -m benchmarks.drill damage` come from here. What a
case does is decided when it is done, by what lies in the bucket then, so that one seed means one case on one bench.
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import psutil
from botocore.exceptions import ClientError, ReadTimeoutError
from drill_bench import PAGE, DrillBench

from domain.canonical import canonical_json
from domain.drill import Damage

RED = frozenset({"FAIL"})
NOT_GREEN = frozenset({"FAIL", "UNCLEAR"})
Do = Callable[[DrillBench, random.Random], AbstractContextManager[str]]


@dataclass(frozen=True)
class Case:
    """One damage: its name and seed, and what the drill may say of it."""

    name: str
    seed: int
    do: Do
    verdicts: frozenset[str]

    def done(self, bench: DrillBench) -> AbstractContextManager[str]:
        """Do it for the length of a block; gives the words for what was done."""
        return self.do(bench, random.Random(f"{self.name} {self.seed}"))


def series(seed: int) -> Iterator[Case]:
    """Cases without end: each kind in turn, in an order and with particulars that the seed chooses."""
    chance = random.Random(seed)
    while True:
        names = [*KINDS]
        chance.shuffle(names)
        for name in names:
            do, verdicts = KINDS[name]
            yield Case(name, chance.randrange(1 << 32), do, verdicts)


def _flip(body: bytearray, chance: random.Random) -> str:
    place, mask = chance.randrange(len(body)), chance.randrange(1, 256)
    body[place] ^= mask
    return f"byte {place} xor {mask:#x}"


def _flip_many(body: bytearray, chance: random.Random) -> str:
    return ", ".join(_flip(body, chance) for _ in range(chance.randrange(2, 9)))


def _cut(body: bytearray, chance: random.Random) -> str:
    length = chance.randrange(len(body))
    del body[length:]
    return f"cut to {length} bytes"


def _zero(body: bytearray, chance: random.Random) -> str:
    place = next(n for n in iter(lambda: chance.randrange(len(body)), -1) if body[n])
    length = min(chance.randrange(1, 70_000), len(body) - place)
    body[place : place + length] = bytes(length)
    return f"{length} bytes of zeros at {place}"


def _append(body: bytearray, chance: random.Random) -> str:
    length = chance.randrange(1, 5000)
    body += chance.randbytes(length)
    return f"{length} bytes more"


def _put_in(body: bytearray, chance: random.Random) -> str:
    place = chance.randrange(len(body))
    body[place:place] = chance.randbytes(chance.randrange(1, 100))
    return f"bytes put in at {place}"


def changed(change: Callable[[bytearray, random.Random], str]) -> Do:
    """Change any object."""

    @contextmanager
    def do(bench: DrillBench, chance: random.Random) -> Generator[str]:
        key = _any_key(bench, chance)
        body = bytearray(bench.get(key))
        words = change(body, chance)
        with bench.changed(key, bytes(body)):
            yield f"{key}: {words}"

    return do


@contextmanager
def lost(bench: DrillBench, chance: random.Random) -> Generator[str]:
    key = _any_key(bench, chance)
    with bench.changed(key, None):
        yield f"{key} lost"


@contextmanager
def emptied(bench: DrillBench, chance: random.Random) -> Generator[str]:
    key = _any_key(bench, chance)
    with bench.changed(key, b""):
        yield f"{key} emptied"


@contextmanager
def swapped(bench: DrillBench, chance: random.Random) -> Generator[str]:
    one, other = chance.sample(_own_keys(bench), 2)
    bodies = bench.get(one), bench.get(other)
    with bench.changed(one, bodies[1]), bench.changed(other, bodies[0]):
        yield f"{one} and {other} exchanged"


@contextmanager
def renamed(bench: DrillBench, chance: random.Random) -> Generator[str]:
    key = _any_key(bench, chance)
    with bench.added(f"{key}.old", bench.get(key)), bench.changed(key, None):
        yield f"{key} renamed"


@contextmanager
def planted(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """One more part of the base backup, which the engine's tool would unpack over the others."""
    key = bench.data_key.replace("data.", f"data_{chance.randrange(1, 5):04}.")
    with bench.added(key, bench.get(bench.data_key)):
        yield f"{key} planted"


@contextmanager
def written_anew(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """Whoever has the key that writes changes the content and records it as if it had always been so."""
    with bench.hidden(chance.choice(_files(bench)), lambda body: _flip_page(body, chance)):
        yield "a file of the backup and its manifest written anew"


@contextmanager
def other_facts(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """A manifest that is well-formed and says something else of the backup."""
    found = bench.extra(lambda manifest: None)
    name = chance.choice([one for one, value in found["facts"].items() if value and one != "manifest_sha256"])
    value = found["facts"][name]
    found["facts"][name] = chance.choice(["", "x", 0, None, [], {}, f"{value}0"])
    with bench.recorded(found):
        yield f"the manifest's {name}: {value!r} is {found['facts'][name]!r}"


@contextmanager
def other_print(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """A fingerprint that was changed, and its manifest with it."""
    found = bench.extra(lambda manifest: None)
    part = chance.choice(["tables", "sequences", "schema", "roles", "point", "lsn", "system_id"])
    kept = found["extra"]["fingerprint"]
    kept[part] = {} if isinstance(kept[part], dict) else chance.choice(["", "0/0", "x"])
    with bench.recorded(found):
        yield f"the fingerprint's {part} exchanged"


@contextmanager
def not_json(bench: DrillBench, chance: random.Random) -> Generator[str]:
    body = chance.choice([b"[]", b"null", b"{}", b'{"facts": [], "objects": {}}', b"\xff\xfe", b'{"facts": 1}'])
    with bench.changed(bench.manifest_key, body):
        yield f"the manifest is {body!r}"


@contextmanager
def rotten(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """A page that was bad when its hash was taken: nothing but reading the restored page can tell."""
    path = chance.choice(_files(bench))
    with bench.unrecorded(), bench.hidden(path, lambda body: _flip_page(body, chance)):
        yield f"a page of {path}, hidden"


@contextmanager
def whole_lost(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """A whole backup is gone, and the one before it is the newest again."""
    one = chance.choice(bench.taken)
    keys = [*bench.keys(f"base/{one.id}/"), f"{bench.prefix}slipway/manifests/{one.id}.json"]
    with ExitStack() as stack:
        for key in keys:
            stack.enter_context(bench.changed(key, None))
        yield f"backup {one.id} lost"


@contextmanager
def whole_planted(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """A backup that nobody took: a whole one under another name, its manifest made for it."""
    old, new = bench.backup.id, bench.backup.id[:-6] + f"{chance.randrange(10**6):06}"
    found = bench.extra(lambda manifest: None)
    found["facts"]["id"] = new
    found["facts"]["begun_at"] = (bench.backup.begun_at + timedelta(seconds=90)).isoformat()
    with ExitStack() as stack:
        for one in found["objects"]:
            body = bench.get(one["key"])
            one["key"] = one["key"].replace(old, new)
            stack.enter_context(bench.added(one["key"], body))
        key = f"{bench.prefix}slipway/manifests/{new}.json"
        stack.enter_context(bench.added(key, canonical_json(found).encode()))
        yield f"backup {new} planted"


@contextmanager
def wrong_clock(bench: DrillBench, chance: random.Random) -> Generator[str]:
    hours = chance.choice([chance.uniform(-1000, -1), chance.uniform(37, 1000)])
    bench.clock.ahead = timedelta(hours=hours)
    try:
        yield f"the clock is {hours:.1f} h off"
    finally:
        bench.clock.ahead = timedelta(0)


@contextmanager
def ledger_altered(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """An entry of the ledger that says what suits a manifest written anew."""
    entries: list[Any] = bench.world.ledger._entries  # pyright: ignore[reportPrivateUsage] - a hand in the store
    place = chance.choice([n for n, one in enumerate(entries) if one.event.kind == "backup.taken"])
    event = entries[place].event
    kept = entries[place]
    entries[place] = replace(kept, event=replace(event, data={**event.data, "manifest_sha256": "0" * 64}))
    try:
        yield f"entry {place + 1} of the ledger altered"
    finally:
        entries[place] = kept


@contextmanager
def result_altered(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """The last drill's result says something else."""
    bench.drill()
    kept: dict[str, bytes] = bench.world.drill_results.bytes.objects
    key = [*kept][-1]
    before = kept[key]
    kept[key] = chance.choice([before.replace(b'"PASS"', b'"FAIL"'), before[:-9], b"{}"])
    try:
        yield f"{key} altered"
    finally:
        kept[key] = before


@contextmanager
def server_killed(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """The scratch server is killed at some moment between its start and its end."""
    delay, ended = chance.uniform(0, 0.6), threading.Event()

    def kill() -> None:
        while not ended.wait(0.02):
            for one in psutil.process_iter(["name", "cwd"]):
                if one.info["name"].startswith("postgres") and str(bench.scratch.folder) in str(one.info["cwd"]):
                    time.sleep(delay)
                    try:
                        one.send_signal(signal.SIGKILL)
                    except psutil.Error:
                        continue
                    return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield f"a process of the scratch server killed {delay:.2f} s after its start"
    finally:
        ended.set()
        killer.join()


class FaultyClient:
    """A store's client that answers badly: for some keys always, or now and then."""

    def __init__(self, real: Any, *, refuses: Callable[[str], Exception | None], breaks: bool) -> None:
        self._real, self._refuses, self._breaks = real, refuses, breaks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_object(self, **words: Any) -> Mapping[str, Any]:
        if error := self._refuses(words["Key"]):
            raise error
        answer = self._real.get_object(**words)
        return {**answer, "Body": _BrokenBody(answer["Body"])} if self._breaks else answer


class _BrokenBody:
    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int = 1000) -> bytes:
        self._body.read(min(size, 1000))
        raise ReadTimeoutError(endpoint_url="the store")


@contextmanager
def badly_answering(bench: DrillBench, refuses: Callable[[str], Exception | None], *, breaks: bool) -> Generator[None]:
    def open_engine(purpose: Any) -> Any:
        engine = bench.engine(purpose)
        bucket = engine._bucket  # the test's own hands
        bucket.__dict__["client"] = FaultyClient(bucket.client, refuses=refuses, breaks=breaks)
        return engine

    bench.world.open_engine = open_engine
    try:
        yield
    finally:
        bench.world.open_engine = lambda purpose: bench.engine(purpose)


def _error(code: str, status: int) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")


@contextmanager
def refused(bench: DrillBench, chance: random.Random) -> Generator[str]:
    key = chance.choice([bench.data_key, bench.manifest_key, chance.choice(bench.segments())])
    with badly_answering(bench, lambda one: _error("AccessDenied", 403) if one == key else None, breaks=False):
        yield f"{key} refused"


@contextmanager
def overloaded(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """Every answer about some object is: slow down."""
    key = chance.choice([bench.data_key, bench.manifest_key])
    with badly_answering(bench, lambda one: _error("SlowDown", 503) if one == key else None, breaks=False):
        yield f"{key}: slow down"


@contextmanager
def torn(bench: DrillBench, chance: random.Random) -> Generator[str]:
    with badly_answering(bench, lambda one: None, breaks=True):
        yield "every body ends in the middle"


@contextmanager
def tool_lies(bench: DrillBench, chance: random.Random) -> Generator[str]:
    """A tool that ends with 0 and has left a damaged file."""
    kind = chance.choice([Damage.PAGE, Damage.TRUNCATED])
    real = bench.scratch

    class Damaging(type(real)):
        def check_backup(self, name: str) -> Any:
            self.damage(name, kind)
            return super().check_backup(name)

    bench.scratch = Damaging(**{name: getattr(real, name) for name in real.__dataclass_fields__})
    try:
        yield f"the restored files are damaged: {kind}"
    finally:
        bench.scratch = real


KINDS: dict[str, tuple[Do, frozenset[str]]] = {
    "a byte": (changed(_flip), RED),
    "another byte": (changed(_flip), RED),
    "several bytes": (changed(_flip_many), RED),
    "truncated": (changed(_cut), RED),
    "zeros": (changed(_zero), RED),
    "garbage behind": (changed(_append), RED),
    "bytes put in": (changed(_put_in), RED),
    "lost": (lost, RED),
    "emptied": (emptied, RED),
    "swapped": (swapped, RED),
    "renamed": (renamed, RED),
    "planted": (planted, RED),
    "written anew": (written_anew, RED),
    "other facts": (other_facts, RED),
    "another fingerprint": (other_print, RED),
    "no manifest": (not_json, RED),
    "a rotten page": (rotten, RED),
    "a whole backup lost": (whole_lost, RED),
    "a whole backup planted": (whole_planted, NOT_GREEN),
    "a wrong clock": (wrong_clock, RED),
    "an altered ledger": (ledger_altered, RED),
    "an altered result": (result_altered, RED),
    "a killed server": (server_killed, RED),
    "a refused object": (refused, RED),
    "a store that is overloaded": (overloaded, NOT_GREEN),
    "torn answers": (torn, NOT_GREEN),
    "a tool that lies": (tool_lies, RED),
}


def _own_keys(bench: DrillBench) -> list[str]:
    return [key for key in bench.keys("") if "/holds/" not in key]


def _any_key(bench: DrillBench, chance: random.Random) -> str:
    """Any object; each folder as often as any other, however many objects it has."""
    keys = _own_keys(bench)
    folder = chance.choice(sorted({key.removeprefix(bench.prefix).split("/")[0] for key in keys} | {"slipway"}))
    return chance.choice([key for key in keys if key.startswith(f"{bench.prefix}{folder}")])


def _files(bench: DrillBench) -> list[str]:
    """Files of relations that nothing writes to: what is written to, the log may heal."""
    return [bench.path_of("doc"), bench.path_of("doc_words"), bench.path_of("doc_pkey"), bench.toast_of("doc")]


def _flip_page(body: bytearray, chance: random.Random) -> None:
    """Change a byte of a page that holds something: an empty one is new to PostgreSQL, whatever it holds."""
    pages = [n for n in range(len(body) // PAGE) if any(body[n * PAGE : (n + 1) * PAGE])]
    body[chance.choice(pages) * PAGE + chance.randrange(PAGE)] ^= chance.randrange(1, 256)
