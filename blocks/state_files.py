"""The state folder's own few files that a recovery needs and no secret is in, copied as if they were a bucket.

Environments, settings, capacity, and the blocks that this machine accepted. `backup` keeps them beside the buckets'
copies, drills compare them, `slipway recover` lays them out first. Credentials are in the recovery kit, never here.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blocks.backup_bucket import Listed
from blocks.bundle import sha256_of
from blocks.installation import WORKERS_FOLDER

SOURCE = "state-files"
SETTINGS = "settings.json"
_PATTERNS = (
    SETTINGS,
    "capacity.yaml",
    "environments/*.yaml",
    "environments/.shipped/*.yaml",
    f"{WORKERS_FOLDER}/accepted-blocks.json",
)


@dataclass(frozen=True, slots=True)
class StateFiles:
    """The files of one state folder, as far as a copy reads a source."""

    state: Path

    def require(self) -> None:
        """They are there as long as the installation is."""

    def objects(self, prefix: str) -> Sequence[Listed]:
        found = sorted(path for pattern in _PATTERNS for path in self.state.glob(pattern) if path.is_file())
        return [
            Listed(path.relative_to(self.state).as_posix(), (at := path.stat()).st_size, _time(at.st_mtime))
            for path in found
        ]

    def fetch(self, key: str, path: Path) -> str:
        shutil.copyfile(self.state / key, path)
        return sha256_of(path)


def is_state_file(key: str) -> bool:
    """Whether a name is one of these: what a copy names otherwise is never laid out."""
    return any(Path(key).match(pattern) and Path(key).parts == tuple(key.split("/")) for pattern in _PATTERNS) and (
        ".." not in Path(key).parts and not key.startswith("/")
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
