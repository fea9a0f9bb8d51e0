"""All tests: the live ones in one process, all others in another beside it. `make test` calls this.

Half of the live tests' time is waiting (for processes, for the next one-time code), so both together take little longer
than the longer one. With arguments it is pytest with these arguments; `--again` runs what failed last time once more.
"""

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

PARTS = {"live": ("tests/live",), "other": ("tests", "--ignore=tests/live")}
CACHE = Path(".pytest_cache")


def start(part: str, *more: str, output: int | None = None) -> subprocess.Popen[str]:
    """Start pytest on one part, with a memory of its own of what failed."""
    command = [sys.executable, "-m", "pytest", *PARTS[part], "-o", f"cache_dir={CACHE / part}", *more]
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT if output else None, text=True)


def follow(process: subprocess.Popen[str], lines: list[str]) -> None:
    """Show what a part says, line by line, and remember the last one."""
    assert process.stdout is not None
    for line in process.stdout:
        print(f"[live] {line}", end="", flush=True)
        lines[:] = [line] if line.strip() else lines


def run_both() -> int:
    """Run both parts side by side; the worse of their exit codes."""
    live = start("live", output=subprocess.PIPE)
    last: list[str] = []
    shower = threading.Thread(target=follow, args=(live, last))
    shower.start()
    other = start("other")
    try:
        codes = [other.wait(), live.wait()]
    finally:
        for process in (other, live):
            if process.poll() is None:
                process.terminate()
        shower.join()
    print("".join(last), end="")
    return max(codes)


def run_again() -> int:
    """Run what failed last time, one part after the other; the worse of their exit codes."""
    parts = [part for part in PARTS if (CACHE / part / "v" / "cache" / "lastfailed").exists()]
    return max((start(part, "--last-failed", "--last-failed-no-failures=none").wait() for part in parts), default=0)


def main(arguments: Sequence[str]) -> int:
    if arguments == ["--again"]:
        return run_again()
    if arguments:
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode
    return run_both()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
