"""Run the benchmarks of what is delivered: `python -m benchmarks [NAME ...] [--full]`; NAME is a folder here.

`forecast` is run by its name only: it needs a folder of series and builds environments for its rivals.

Ratios between two things run in turn in one run; figures of a noisy machine mean nothing alone.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(path.parent.name for path in HERE.glob("*/__main__.py"))
BY_NAME_ONLY = ("forecast",)


def main() -> None:
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    switches = [word for word in sys.argv[1:] if word.startswith("-")]
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        sys.exit(f"No benchmark named {', '.join(unknown)}. There are: {', '.join(NAMES)}.")
    failed = []
    for name in wanted or [name for name in NAMES if name not in BY_NAME_ONLY]:
        print(f"\n# {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *switches], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
