"""Makes pyarrow importable: the benchmark reads and writes parquet with it, Slipway itself does not need it."""

import hashlib
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements" / "data.txt"


def provide_pyarrow() -> None:
    """Install the locked pyarrow beside the benchmark's other environments where this interpreter lacks it.

    Raises:
        SystemExit: it can't be installed; what to do stands in the message.
    """
    if importlib.util.find_spec("pyarrow"):
        return
    locked = locked_lines(LOCK.read_text(), "pyarrow")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256((locked + sys.version).encode()).hexdigest()[:12]
    folder = cache / "slipway" / "benchmarks" / f"pyarrow-{digest}"
    if not (folder / "installed").exists():
        install(locked, folder)
    sys.path.append(str(folder))
    importlib.invalidate_caches()


def locked_lines(lock: str, name: str) -> str:
    """Take one package with its hashes out of a lock."""
    lines = itertools.dropwhile(lambda line: not line.startswith(f"{name}=="), lock.splitlines())
    first = next(lines)
    return "\n".join([first, *itertools.takewhile(lambda line: line.startswith(" "), lines)]) + "\n"


def install(locked: str, folder: Path) -> None:
    """Install locked lines into a folder of their own, checked by their hashes."""
    print(f"Reading parquet needs pyarrow: installing it into {folder} (once)", file=sys.stderr, flush=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(locked)
        requirements.flush()
        words = ["install", "-q", "--no-deps", "--require-hashes", "--upgrade", "--target", str(folder)]
        done = subprocess.run([sys.executable, "-m", "pip", *words, "-r", requirements.name], check=False)
    if done.returncode:
        raise SystemExit("Could not install pyarrow. Install it yourself: .venv/bin/python -m pip install pyarrow")
    (folder / "installed").touch()
