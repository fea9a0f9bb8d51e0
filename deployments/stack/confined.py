"""The general worker's view of this machine: what building takes, and nothing of production's.

It runs as the same user as everything of ours (only root may hand work to the users of builds), so its file system is
made to hold no more than it needs: credentials, results, sockets and configuration of the others are not there, the
rest is read-only, other processes are not seen, and as root the rights that would lead around this are given up. Where
bubblewrap does not work it runs unconfined: what then holds are the roles of the database, and the isolation of builds.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from blocks.identity import clean_environment, is_root

WRITABLE = ("work", "mirrors", "cache", "mailbox", "prefect-general", "code/runs")
PRIVATE = ("mirrors", "mailbox", "prefect-general")
"""Of these, what no other user of the machine may look into."""

READABLE = ("code", "runtime", "environments", "workers", "repositories", "installation.json")
"""Of the state folder. Files by folder: a file that is replaced would stay the old one in there."""

_RIGHTS = ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "sys_nice")
_TRY_LIMIT_S = 10


def confined(command: Sequence[str], *, state: Path, sockets: Path) -> tuple[str, ...]:
    """Wrap a command; as it was where this machine can't.

    Effect: makes folders that are missing, and starts a harmless command once to see whether it works.
    """
    for name in (*WRITABLE, "repositories"):
        (state / name).mkdir(parents=True, exist_ok=True)
    for name in PRIVATE:
        (state / name).chmod(0o700)
    bwrap, setpriv = shutil.which("bwrap"), shutil.which("setpriv")
    if bwrap is None or (is_root() and setpriv is None):
        return tuple(command)
    wrap = (bwrap, *_view(state, sockets), "--", *(_give_up_rights(setpriv) if is_root() and setpriv else ()))
    return (*wrap, *command) if _works(wrap, state) else tuple(command)


def _view(state: Path, sockets: Path) -> Iterator[str]:
    yield from ("--die-with-parent", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev")
    if not is_root():
        yield from ("--proc", "/proc")
    for folder in ("/tmp", "/var/tmp"):
        yield from ("--bind", folder, folder)
    yield from ("--perms", "0711", "--tmpfs", str(state), "--tmpfs", str(sockets))
    for name in READABLE:
        yield from ("--ro-bind-try", str(state / name), str(state / name))
    for name in WRITABLE:
        yield from ("--bind", str(state / name), str(state / name))
    yield from ("--remount-ro", str(state), "--remount-ro", str(sockets))


def _give_up_rights(setpriv: str) -> Iterator[str]:
    # Mounted whole, not as bubblewrap does it for root: else the sandboxes of builds could mount none of their own.
    yield from ("/bin/sh", "-c", 'mount -t proc proc /proc && exec "$@"', "sh")
    yield from (setpriv, f"--bounding-set=-all,{','.join(f'+{right}' for right in _RIGHTS)}", "--")


def _works(wrap: Sequence[str], state: Path) -> bool:
    """Whether the wrapped world starts, and really lacks the secrets."""
    look = ["/bin/sh", "-c", 'test ! -e "$1/credentials.json" && test -d "$1/work"', "sh", str(state)]
    try:
        done = subprocess.run(
            [*wrap, *look],
            env=clean_environment({"PATH": os.defpath}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRY_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
