"""Reports as files in the state folder: whole or not at all, readable by the owner, the oldest removed."""

import re
from dataclasses import dataclass
from pathlib import Path

from blocks.installation import write_private
from domain.errors import ConfigError, TransientError

FOLDER = "reports"
REPORTS_MAX = 200
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,80}\.(html|md|csv)")


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Fulfils `domain.ports_capacity.Reports`."""

    folder: Path

    def write(self, name: str, text: str) -> str:
        """Keep a report. Raises: TransientError where the disk does not take it."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"'{name[:80]}' is no name of a report: lower-case letters, digits, dashes, and .html.")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self.folder / name, text)
            by_age = sorted(self.folder.glob("*.*"), key=lambda path: path.stat().st_mtime)
            for path in by_age[:-REPORTS_MAX]:
                path.unlink(missing_ok=True)
        except OSError as exc:
            raise TransientError(f"The report could not be kept: {exc}. Free disk space.") from exc
        return str(self.folder / name)
