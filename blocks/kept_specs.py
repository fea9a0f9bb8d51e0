"""How each release was started last, sealed, on this machine: so that break-glass can start it again.

Written by `LocalTarget.start`. A spec holds the secrets of a released process, so it rests sealed (`STATE/break-glass/
specs/`); the oldest go first.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from blocks.installation import Installation, write_private
from blocks.instance_register import group_name
from blocks.seal import SEAL_SECRET, Seal, read_seal
from domain.errors import ConfigError
from domain.service import Limits, ServiceSpec

log = logging.getLogger("slipway")

_KEPT_MAX = 200


@dataclass(frozen=True, slots=True)
class KeptSpecs:
    """The sealed specs of one installation."""

    installation: Installation

    def keep(self, place: str, spec: ServiceSpec) -> None:
        """Keep how a release was started at a place (`<environment>-<site>`). What can't be kept fails nothing."""
        try:
            text = json.dumps(asdict(spec) | {"environment": dict(spec.environment)}, sort_keys=True)
            path = self._path(place, spec.application, spec.release)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, self._seal().close(text).decode())
            for old in sorted(path.parent.glob("*.sealed"), key=lambda one: one.stat().st_mtime)[:-_KEPT_MAX]:
                old.unlink(missing_ok=True)
        except (OSError, ConfigError) as exc:
            log.warning(
                "break-glass could not start %s again: %s", group_name(place, spec.application, spec.release), exc
            )

    def read(self, place: str, application: str, release: str) -> ServiceSpec | None:
        """Read how it was started last; None where that is not known, or was sealed with another key."""
        try:
            sealed = self._path(place, application, release).read_text()
            value = json.loads(self._seal().open(sealed.encode()))
        except (OSError, ConfigError):
            return None
        limits = Limits(**value.get("limits", {}))  # an earlier version kept none
        return ServiceSpec(**(value | {"command": tuple(value["command"]), "limits": limits}))

    def _path(self, place: str, application: str, release: str) -> Path:
        folder = self.installation.state / "break-glass" / "specs"
        return folder / f"{group_name(place, application, release)}.sealed"

    def _seal(self) -> Seal:
        return read_seal(SEAL_SECRET, state=self.installation.state)
