"""The service of a checkout in the foreground: started anew when a file changes, ended with all its children."""

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from blocks.guarded import Guarded, Order
from deployments.developing.place import ENVIRONMENT, Place
from domain.errors import ConfigError, SlipwayError, TransientError
from domain.service import Arm

LOOK_S = 0.5
_IGNORED = {".git", ".venv", "venv", "node_modules", "__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
_FILES_MAX = 20_000


def serve(place: Place, *, say: Callable[[str], None], reload: bool = True) -> None:
    """Start middleware, migrate, start, route; start again whenever a file changes; until Ctrl-C or SIGTERM.

    Effect: nothing of it is left afterwards but what database and middleware hold: no process, no route, no file.
    Raises: ConfigError where a program is missing, migrations fail, or the service ends by itself and nothing changes.
    """
    packages = place.packages()
    with ExitStack() as middleware:
        for server in place.middleware():
            middleware.enter_context(server.running())
            say(f"{server.title} answers ({server.variable})")
        _serve(place, place.whole_environment(packages), say, reload=reload)


def _serve(place: Place, environment: Mapping[str, str], say: Callable[[str], None], *, reload: bool) -> None:
    _migrate(place, environment, say)
    port = _free_port()
    with _behind_the_balancer(place, port) as address:
        say(f"{place.name} in {ENVIRONMENT}: {address}   (itself: http://127.0.0.1:{port}/)")
        say("Ctrl-C ends it." + (" A changed file starts it again." if reload else ""))
        while True:
            seen = _snapshot(place.folder)
            with _running(place, port, environment) as process:
                _watch(place, process, seen, reload=reload, say=say)


def _migrate(place: Place, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    database = place.file.database
    if database is None:
        return
    order = Order(
        command=database.migrate,
        directory=place.folder,
        environment=environment,
        user=place.user,
        limit_s=database.limit_s,
    )
    with Guarded(order) as guarded:
        ended = guarded.wait()
    if not ended.is_ok:
        raise ConfigError(f"{' '.join(database.migrate)} ended with {ended.exit_code}:\n{ended.tail}")
    say(f"migrated ({ended.seconds:.1f} s)")


def _watch(place: Place, process: Guarded, seen: dict[Path, int], *, reload: bool, say: Callable[[str], None]) -> None:
    """Wait for a change of a file; returns when there is one. An ended service waits for one, too."""
    told = False
    while True:
        if process.process.poll() is not None and not told:
            if not reload:
                raise ConfigError(f"{place.name} has ended by itself. Its last lines are above.")
            say("it has ended; change a file to start it again")
            told = True
        time.sleep(LOOK_S)
        if reload and (changed := _changed(seen, _snapshot(place.folder))):
            say(f"{changed.relative_to(place.folder)} changed")
            return


@contextmanager
def _running(place: Place, port: int, environment: Mapping[str, str]) -> Generator[Guarded]:
    """One life of the service; its output is shown as it comes. It also ends when we are killed."""
    service = place.file.service
    words = tuple(word.replace("{host}", "127.0.0.1").replace("{port}", str(port)) for word in service.command)
    with tempfile.TemporaryDirectory(prefix="slipway-dev-") as folder:
        log = Path(folder) / "output.log"
        log.touch()
        order = Order(
            command=words,
            directory=place.folder,
            environment=environment,
            user=place.user,
            log=log,
            stop_signal=signal.SIGTERM,
            stop_limit_s=service.stop_limit_s,
        )
        ended = threading.Event()
        shower = threading.Thread(target=_show, args=(log, ended), daemon=True)
        with Guarded(order) as guarded:
            shower.start()
            try:
                yield guarded
            finally:
                guarded.stop()
                ended.set()
                shower.join(timeout=5)


def _show(log: Path, ended: threading.Event) -> None:
    """Copy what the service writes to our standard output, to its end."""
    with log.open("rb") as file:
        while True:
            last = ended.is_set()
            if piece := file.read():
                sys.stdout.buffer.write(piece)
                sys.stdout.flush()
            elif last:
                return
            else:
                time.sleep(0.1)


@contextmanager
def _behind_the_balancer(place: Place, port: int) -> Generator[str]:
    """Give the checkout the application's traffic in development, and give it back what it had before."""
    site = place.world.environment(ENVIRONMENT).primary.name
    balancer = place.world.balancer(ENVIRONMENT, site)
    before = [arm for arm in balancer.routes(place.name) if arm.release != place.release]
    arm = Arm(place.release, 100, (f"http://127.0.0.1:{port}",), place.file.health.live)
    balancer.route(place.name, [arm])
    url, host = balancer.entry(place.name)
    try:
        yield f"http://{host}:{url.rpartition(':')[2]}/"
    finally:
        try:
            balancer.route(place.name, before)
        except SlipwayError as exc:
            raise TransientError(f"The route of {place.name} in {ENVIRONMENT} stays: {exc}") from exc


def _snapshot(folder: Path) -> dict[Path, int]:
    """When each file of the checkout was changed last, at most so many of them."""
    found: dict[Path, int] = {}
    for path in _files(folder):
        try:
            found[path] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue  # gone since
        if len(found) >= _FILES_MAX:
            break
    return found


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _IGNORED]
        yield from (Path(root) / name for name in files if not name.endswith((".pyc", ".log", "~")))


def _changed(before: dict[Path, int], after: dict[Path, int]) -> Path | None:
    return next((path for path in {**before, **after} if before.get(path) != after.get(path)), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
