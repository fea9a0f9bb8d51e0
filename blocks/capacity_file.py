"""The team's settings about capacity, `capacity.yaml` in the state folder, read afresh by each run."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from domain.capacity import CapacityPlan, read_plan
from domain.errors import ConfigError

FILE = "capacity.yaml"


@dataclass(frozen=True, slots=True)
class CapacityFile:
    """Fulfils `domain.ports_capacity.CapacitySettings` by one file."""

    path: Path

    def read(self) -> CapacityPlan:
        """Read what is set. Raises: ConfigError naming each thing that is wrong, or a file that is not there."""
        try:
            return read_plan(yaml.safe_load(self.path.read_text("utf-8")))
        except FileNotFoundError as exc:
            raise ConfigError(f"There is no {self.path}. Run `slipway up`, which puts a default there.") from exc
        except yaml.YAMLError as exc:
            raise ConfigError(f"{self.path} is no YAML: {str(exc)[:256]}. Correct it.") from exc
