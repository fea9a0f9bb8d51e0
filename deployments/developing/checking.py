"""One declared check on a checkout, by the same code as in `ci`: packed, unpacked for the runner's user, run, ended."""

import shutil
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from blocks.bundle import pack_bundle
from deployments.developing.place import Place
from domain.check import CheckResult
from domain.errors import ConfigError
from tasks.checks import run_part
from tasks.release import BUNDLE_FILE

_LEFT_OUT = (".git", ".venv", "venv", "__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", "node_modules")


def check(place: Place, name: str) -> CheckResult:
    """Run one check of the files as they are, committed or not. Its output is shown at the end; nothing is left.

    Raises: ConfigError that lists the checks there are.
    """
    parts = {part.name: part for part in place.file.check}
    if name not in parts:
        raise ConfigError(f"No check named '{name}'. Use one of: {', '.join(parts)}.")
    work = f"dev-{uuid4().hex[:12]}"
    folder = place.world.runner.folder(work)
    try:
        _pack(place.folder, folder / BUNDLE_FILE)
        result = run_part(folder, place.file, parts[name])
        log = folder / f"check-{name}.log"
        if log.exists():
            sys.stdout.write(log.read_text(errors="replace"))
        return result
    finally:
        place.world.runner.remove_folder(work)


def _pack(source: Path, archive: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="slipway-dev-") as folder:
        copy = Path(folder) / "source"
        shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        pack_bundle(archive, source=copy, wheels=[])
