"""What isolation costs a check: the same check in bubblewrap and without, in turn; goal: at most 1.1 times as long.

    python -m benchmarks.isolation

The check is some seconds of what checks do: import, start processes, write and read files. What a sandbox costs at its
start is measured apart, with a check that does nothing. Medians of pairs in turn,
so that a machine that gets busier meets both alike. Ends with 1 where the goal is missed.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from blocks.identity import ensure_users, find_python
from blocks.installation import Installation
from blocks.runner_local import LocalRunner

ROUNDS = 5
GOAL = 1.1
CHECK = """
import hashlib, json, os, subprocess, sys, time
import unittest, email.mime.text, sqlite3, asyncio
for n in range(300):
    with open(f"f{n}", "w") as file:
        file.write(json.dumps(list(range(500))))
for n in range(300):
    with open(f"f{n}") as file:
        json.load(file)
    os.remove(f"f{n}")
for n in range(24):
    subprocess.run([sys.executable, "-c", "import json, socket"], check=True)
text = b"x" * 1000
for n in range(3_000_000):
    text = hashlib.sha256(text).digest()
"""


def main() -> int:
    """Measure and print; the exit code says whether the goal was met."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", dir="/tmp") as folder:
        state = Path(folder)
        state.chmod(0o711)
        users = ensure_users()
        python = find_python(users.build, copy_to=state / "python")
        Installation(state, state, {}, users, python, state).save()
        held, plain = LocalRunner(state=folder), LocalRunner(state=folder, bubblewrap="")
        if held.isolation().missing:
            print(f"bubblewrap does not work here: {held.isolation().reason}")
            return 2
        work = held.folder("bench") / "source"
        work.mkdir()
        (work / "check.py").write_text(CHECK)
        held.hand_over(work)
        empty = [(seconds(plain, work, "true"), seconds(held, work, "true")) for _ in range(ROUNDS)]
        pairs = [(seconds(plain, work), seconds(held, work)) for _ in range(ROUNDS)]
    start_s = statistics.median(after - before for before, after in empty)
    ratio = statistics.median(after / before for before, after in pairs)
    before, after = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{ROUNDS} pairs on {os.cpu_count()} cores: plain {before:.2f} s, isolated {after:.2f} s, ratio {ratio:.3f}")
    print(f"of that, to start a sandbox: {start_s:.2f} s")
    print(f"goal: at most {GOAL}: {'met' if ratio <= GOAL else 'missed'}")
    return 0 if ratio <= GOAL else 1


def seconds(runner: LocalRunner, work: Path, *command: str) -> float:
    """Run the check once, from the call to its end: also what it takes to prepare."""
    began = time.monotonic()
    ended = runner.run(command or ["python3", "check.py"], directory=work, environment={}, limit_s=120)
    assert ended.is_ok, ended
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
