"""What this machine can keep apart, found by trying: does bubblewrap work here, for this user, and how far.

Asked once in a process by the runner of builds and checks and by targets, before they start other people's code; and
by `slipway doctor` and the forms that tell people where something is missing. Never guessed from versions or settings:
a command is put into a sandbox, and looks whether it can see what it must not see.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from blocks.identity import as_user, clean_environment, give, is_root
from blocks.installation import Installation
from blocks.sandbox import Sandbox, existing, interpreter_folders
from domain.isolation import Isolation

BUBBLEWRAP = "bwrap"
_PATH = "/usr/local/bin:/usr/bin:/bin"
_LIMIT_S = 20
# $1: a file that must not be there; $2: a process that must not be seen; $3: whether the network must be its own
_LOOK = """
[ ! -e "$1" ] || { echo "the state folder is visible"; exit 3; }
[ $$ -lt 30 ] && ! kill -0 "$2" 2>/dev/null || { echo "processes outside are visible"; exit 4; }
if [ "$3" = own ] && [ "$(grep -c : /proc/net/dev)" != 1 ]; then echo "network devices are visible"; exit 5; fi
if touch /usr/.slipway-probe /etc/.slipway-probe 2>/dev/null; then echo "the system can be written to"; exit 6; fi
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """How commands of one user are held here: `pattern` is the sandbox to fill in, None where none works."""

    isolation: Isolation
    pattern: Sandbox | None = None

    def sandbox(
        self,
        *,
        tmp: Path,
        read_only: tuple[Path, ...] = (),
        writable: tuple[Path, ...] = (),
        network: bool = False,
        ports: dict[int, Path] | None = None,
        processes_max: int | None = None,
    ) -> Sandbox | None:
        """A sandbox for one command; its network is the machine's where it asks for that, or can have no other."""
        if self.pattern is None:
            return None
        shared = network or not self.isolation.network
        return replace(
            self.pattern,
            tmp=tmp,
            read_only=existing((*self.pattern.read_only, *read_only)),
            writable=existing((tmp, *writable)),
            network=shared,
            ports=dict(ports or {}),
            processes_max=processes_max,
        )


def holder(installation: Installation, user: str | None, *, program: str = BUBBLEWRAP) -> Holder:
    """Find out how commands of `user` can be held; tried once in a process.

    Args:
        program: bubblewrap's name or path; empty where the operator wants none.
    """
    return _holder(installation.state, installation.sockets, installation.python, user, program)


def find_isolation(installation: Installation, *, program: str = BUBBLEWRAP) -> Isolation:
    """How builds, checks and released services are kept apart here: what holds for all of them."""
    users = installation.users
    found = [holder(installation, user, program=program).isolation for user in (users.build, users.service)]
    return next((isolation for isolation in found if isolation.missing), found[0])


def describe_isolation(installation: Installation) -> list[str]:
    """Findings for an operator, each with what to do; empty where nothing is missing."""
    isolation = find_isolation(installation)
    if not isolation.missing:
        return []
    return [f"Other people's code is not fully isolated (missing: {', '.join(isolation.missing)}). {isolation.reason}"]


@cache
def _holder(state: Path, sockets: Path, python: Path, user: str | None, program: str) -> Holder:
    apart = user is not None and is_root()
    if not program:
        return Holder(Isolation(apart, False, False, False, "Its block says that no bubblewrap is to be used."))
    found = shutil.which(program, path=_PATH)
    if found is None or shutil.which("prlimit", path=_PATH) is None:
        why = "bubblewrap is not installed; run `apt install bubblewrap`, then `slipway up`."
        return Holder(Isolation(apart, False, False, False, why))
    work = state / "work"
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o711)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=work) as folder:
        tmp = Path(folder)
        give(tmp, user, mode=0o700)
        pattern = Sandbox(
            bwrap=Path(found),
            tmp=tmp,
            hidden=_hidden(state, sockets),
            read_only=existing(interpreter_folders(python)),
            python=python,
        )
        return _try(pattern, state=state, user=user, apart=apart)


def _try(pattern: Sandbox, *, state: Path, user: str | None, apart: bool) -> Holder:
    """Try from the most to the least that a machine may allow."""
    first = words = ""
    for network in (False, True):
        for options in (("--disable-userns",), ()):
            wanted = replace(pattern, network=network, options=options, writable=(pattern.tmp,))
            words = _look(wanted, state=state, user=user)
            first = first or words
            if not words:
                why = "" if not network else f"A network of its own failed: {first}. {_ADVICE}"
                return Holder(Isolation(apart, True, True, not network, why), wanted)
    return Holder(Isolation(apart, False, False, False, f"bubblewrap does not work here: {first}. {_ADVICE}"))


_ADVICE = (
    "Allow user namespaces to ordinary users (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container, run it with them allowed), then run `slipway up`."
)


def _look(sandbox: Sandbox, *, state: Path, user: str | None) -> str:
    """Put a command into the sandbox that looks around; empty when it saw nothing, else what went wrong."""
    # a mark of ours, in a folder that others may pass through
    mark = state / "work" / f".visible-{os.getpid()}"
    mark.touch()
    seen = [str(mark), str(os.getpid()), "shared" if sandbox.network else "own"]
    command = sandbox.wrap(["sh", "-c", _LOOK, "sh", *seen], directory=sandbox.tmp)
    try:
        done = subprocess.run(
            command,
            cwd="/",
            env=clean_environment({"PATH": _PATH}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
            start_new_session=True,
            **as_user(user),
        )
    except subprocess.TimeoutExpired:
        return f"it gave no answer in {_LIMIT_S} s"
    except OSError as exc:
        return str(exc)
    finally:
        mark.unlink(missing_ok=True)
    words = " ".join((done.stderr or done.stdout).split())[-200:].rstrip(".")
    return "" if done.returncode == 0 else words or f"it ended with {done.returncode}"


def _hidden(state: Path, sockets: Path) -> tuple[Path, ...]:
    """What stays out of sight even where it lies in a folder of the system: our state, and our person's home."""
    places = dict.fromkeys((state, state.resolve(), sockets, Path.home()))
    return tuple(place for place in places if len(place.parts) > 2 or place == Path("/root"))
