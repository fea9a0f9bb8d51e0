"""Visitors of the helpdesk: an outside client that counts every answer. Standard library only, a process of its own.

    python load.py --site alpha=http://127.0.0.1:4212=60 --host helpdesk.localhost --seconds 300 --output answers.jsonl

Requests leave at a fixed rate whether or not earlier ones were answered, so a slow service can't hide behind a patient
client. Nothing is ever tried again: a lost answer is a lost answer. Each line of the output is one request:

    {"at": 1700000000.123, "site": "alpha", "what": "ticket", "status": 200, "ms": 4.2, "release": "0123…", "why": ""}

`at` is when it left; `status` 0 means that no whole answer came; `why` is empty when all is well; `release` is what the
answer's header said, empty where it said nothing. SIGTERM or the time limit ends it after the last answers are in.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

ANSWER_LIMIT_S = 10.0
RUNNING_MAX = 500
RATE_MAX = 500.0
SECONDS_MAX = 3600.0
BODY_BYTES_MAX = 4 * 1024 * 1024
TICKETS_KNOWN_MAX = 2000

NAMES = [
    "Mara Lindqvist",
    "Jonas Weber",
    "Aiko Tanaka",
    "Priya Nair",
    "Zoë Martin",
    "Sam Carter",
    "Łukasz Nowak",
    "王芳",
]
SUBJECTS = [
    "I can't sign in since this morning",
    "The invoice for October shows one seat too many",
    "Export stays at 99 percent",
    "Printer on the second floor is not found",
    "Please change the address of our company",
    "The app signs me out every hour",
    "How do I add a colleague?",
    "Der Drucker im zweiten Stock fällt ständig aus",
    "La facture d’octobre n’est pas arrivée",
    "发票上的公司地址不对",
]
STORIES = [
    "It began today, for everybody in our team.",
    "I have tried it on two computers, with the same result.",
    "It worked last week. Nothing has changed on our side.",
    "This is the second time this month. Could you have a look, please?",
]
FROM_CUSTOMER = ["Thank you, that worked.", "Still the same, sorry.", "Any news?", "It works again since this noon."]
FROM_DESK = [
    "We have changed it on our side. Please try again.",
    "Which version do you see at the bottom of the page?",
    "Thank you for the details, we are looking into it.",
]
WORDS = ["password", "invoice", "printer", "export", "answer", "network", "billing settings"]
SLUGS = ["reset-your-password", "read-your-invoice", "connect-a-printer", "export-your-data", "answer-times"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a visitor asks for; `expected` is the only status that counts as good."""

    what: str
    method: str
    path: str
    expected: int = 200
    body: bytes = b""
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class LostError(Exception):
    """No whole answer came; the text says how far it got."""


@dataclass(slots=True)
class Site:
    """One entry that visitors use: its address, their rate, and its idle connections."""

    name: str
    address: str
    port: int
    rate: float
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)


class Visitors:
    """Chooses requests as visitors do: mostly reading tickets, some searching, some writing."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._tickets: list[int] = []
        self._choices: list[tuple[int, Callable[[], Request]]] = [
            (34, lambda: self._read_ticket("ticket", "/tickets/{}")),
            (14, lambda: self._read_ticket("ticket-api", "/api/tickets/{}")),
            (12, self._list),
            (8, lambda: Request("home", "GET", "/")),
            (10, lambda: Request("search", "GET", f"/articles?q={self._random.choice(WORDS).replace(' ', '+')}")),
            (6, lambda: Request("article", "GET", f"/articles/{self._random.choice(SLUGS)}")),
            (8, self._open),
            (6, self._comment),
            (2, self._reply),
        ]

    def learn(self, id: int) -> None:
        """Remember a ticket that is there."""
        self._tickets.append(id)
        if len(self._tickets) > TICKETS_KNOWN_MAX:
            del self._tickets[: TICKETS_KNOWN_MAX // 4]

    def next(self) -> Request:
        if len(self._tickets) < 20:
            return self._open()
        weights = [weight for weight, _ in self._choices]
        return self._random.choices([make for _, make in self._choices], weights)[0]()

    def _ticket(self) -> int:
        return self._random.choice(self._tickets)

    def _read_ticket(self, what: str, path: str) -> Request:
        return Request(what, "GET", path.format(self._ticket()))

    def _list(self) -> Request:
        return Request(
            "tickets", "GET", self._random.choice(["/tickets", "/tickets?status=open", "/tickets?q=invoice"])
        )

    def _open(self) -> Request:
        name = self._random.choice(NAMES)
        values = {
            "email": f"visitor{self._random.randrange(400)}@example.com",
            "name": name,
            "subject": self._random.choice(SUBJECTS),
            "body": self._random.choice(STORIES),
            "priority": self._random.choice(["low", "normal", "normal", "normal", "high"]),
        }
        return _post_json("open", "/api/tickets", values)

    def _comment(self) -> Request:
        values = {"author": "Ann", "side": "desk", "body": self._random.choice(FROM_DESK)}
        if self._random.random() < 0.5:
            author, body = self._random.choice(NAMES), self._random.choice(FROM_CUSTOMER)
            values = {"author": author, "side": "customer", "body": body}
        return _post_json("comment", f"/api/tickets/{self._ticket()}/comments", values)

    def _reply(self) -> Request:
        body = b"side=desk&author=Ann&then=close&body=Solved%2C+we+close+this+one."
        form = "application/x-www-form-urlencoded"
        return Request("reply", "POST", f"/tickets/{self._ticket()}/comments", 303, body, form)


def _post_json(what: str, path: str, values: dict[str, str]) -> Request:
    return Request(what, "POST", path, 201, json.dumps(values).encode(), "application/json")


async def exchange(site: Site, host: str, request: Request) -> Answer:
    """Send one request over an idle connection, or a new one; never twice. Raises: LostError."""
    step = "connect"
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            reader, writer = await _connect(site)
            step = "send"
            writer.write(_encode(request, host))
            await writer.drain()
            step = "answer"
            answer = await _read_answer(reader, request.method)
    except TimeoutError:
        raise LostError(f"{step}: nothing within {ANSWER_LIMIT_S:g} s") from None
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as exc:
        raise LostError(f"{step}: {type(exc).__name__}") from exc
    if answer.headers.get("connection", "").lower() == "close":
        writer.close()
    else:
        site.idle.append((reader, writer))
    return answer


async def _connect(site: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while site.idle:
        reader, writer = site.idle.pop()
        # One that the other side has closed meanwhile is no lost request: nothing was sent on it yet.
        if not reader.at_eof() and not writer.is_closing():
            return reader, writer
        writer.close()
    return await asyncio.open_connection(site.address, site.port)


def _encode(request: Request, host: str) -> bytes:
    lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {host}", "User-Agent: visitors", "Accept: */*"]
    if request.method == "POST":
        lines += [f"Content-Type: {request.content_type}", f"Content-Length: {len(request.body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + request.body


async def _read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if status == 204 or status == 304 or method == "HEAD":
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Answer(status, headers, await _read_chunks(reader))
    if "content-length" not in headers:
        raise ValueError("an answer without a length")
    return Answer(status, headers, await reader.readexactly(min(int(headers["content-length"]), BODY_BYTES_MAX)))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
        if len(body) > BODY_BYTES_MAX:
            raise ValueError("an answer without an end")
    await reader.readuntil(b"\r\n")
    return bytes(body)


class Load:
    """Sends visitors to the sites until it is told to stop, and writes down what they saw."""

    def __init__(self, sites: list[Site], *, host: str, header: str, output: TextIO, seed: int) -> None:
        self._sites = sites
        self._host = host
        self._header = header
        self._output = output
        self._visitors = Visitors(seed)
        self._running: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self.counts = {"requests": 0, "failed": 0, "skipped": 0}

    def stop(self) -> None:
        self._stop.set()

    async def run(self, seconds: float) -> None:
        await asyncio.gather(*(self._visit(site, time.monotonic() + seconds) for site in self._sites))
        if self._running:
            await asyncio.wait(self._running)
        self._output.flush()

    async def _visit(self, site: Site, until: float) -> None:
        due = time.monotonic()
        while not self._stop.is_set() and due < until:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0.0, due - time.monotonic()))
            if self._stop.is_set():
                return
            due += 1 / site.rate
            if len(self._running) >= RUNNING_MAX:
                self._write(site, "skipped", time.time(), 0, 0.0, "", f"{RUNNING_MAX} requests are running already")
                self.counts["skipped"] += 1
                continue
            task = asyncio.create_task(self._ask(site, self._visitors.next()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _ask(self, site: Site, request: Request) -> None:
        at, started = time.time(), time.perf_counter()
        status, release, why = 0, "", ""
        try:
            answer = await exchange(site, self._host, request)
            status, release = answer.status, answer.headers.get(self._header, "")
            why = "" if status == request.expected else f"status {status} instead of {request.expected}"
            if request.what == "open" and not why:
                self._visitors.learn(int(json.loads(answer.body)["id"]))
        except LostError as exc:
            why = str(exc)
        self.counts["requests"] += 1
        self.counts["failed"] += bool(why)
        self._write(site, request.what, at, status, (time.perf_counter() - started) * 1000, release, why)

    def _write(self, site: Site, what: str, at: float, status: int, ms: float, release: str, why: str) -> None:
        line = {"at": round(at, 3), "site": site.name, "what": what, "status": status, "ms": round(ms, 2)}
        self._output.write(json.dumps(line | {"release": release, "why": why}) + "\n")


def read_site(text: str) -> Site:
    """Read `NAME=http://127.0.0.1:PORT=RATE`; only this machine is visited."""
    name, url, rate = text.split("=")
    parts = urlsplit(url)
    address = parts.hostname or ""
    if parts.scheme != "http" or not ipaddress.ip_address(address).is_loopback:
        raise ValueError(f"{url} is not http://127.0.0.1:PORT")
    if not 0 < float(rate) <= RATE_MAX:
        raise ValueError(f"the rate {rate} is not within 0 and {RATE_MAX:g} a second")
    return Site(name, address, parts.port or 80, float(rate))


async def _main(options: argparse.Namespace) -> int:
    with Path(options.output).open("a", buffering=1, encoding="utf-8") as output:
        load = Load(options.site, host=options.host, header=options.header.lower(), output=output, seed=options.seed)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, load.stop)
        await load.run(min(options.seconds, SECONDS_MAX))
    print(json.dumps(load.counts))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--site", action="append", required=True, type=read_site, help="NAME=http://127.0.0.1:PORT=RATE"
    )
    parser.add_argument("--host", required=True, help="the Host header that reaches the application")
    parser.add_argument("--header", default="x-release", help="the header that says which release answered")
    parser.add_argument("--seconds", type=float, default=60.0, help=f"when to stop, at most {SECONDS_MAX:g}")
    parser.add_argument("--output", required=True, help="the file to which a line is added for each request")
    parser.add_argument("--seed", type=int, default=1)
    return asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
