"""The team's settings about capacity, `capacity.yaml` in the state folder, read afresh by each run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from domain.capacity import CapacityPlan, read_plan
from domain.errors import ConfigError

FILE = "capacity.yaml"
BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class CapacityFile:
    """Fulfils `domain.ports_capacity.CapacitySettings` by one file."""

    path: Path

    def read(self) -> CapacityPlan:
        """Read what is set. Raises: ConfigError naming each thing that is wrong, or a file that is not there."""
        try:
            with self.path.open("rb") as file:
                text = file.read(BYTES_MAX + 1)
            if len(text) > BYTES_MAX:
                raise ConfigError(f"{self.path} has over {BYTES_MAX // 1000} kB. Shorten it: rules take patterns.")
            return read_plan(yaml.load(text.decode("utf-8"), _PlainLoader))
        except FileNotFoundError as exc:
            raise ConfigError(f"There is no {self.path}. Run `slipway up`, which puts a default there.") from exc
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{self.path} can't be read: {str(exc)[:200]}. Write it as UTF-8 text.") from exc
        except (yaml.YAMLError, RecursionError, ValueError) as exc:
            raise ConfigError(f"{self.path} is no YAML: {str(exc)[:300]}. Correct it.") from exc


class _PlainLoader(yaml.SafeLoader):
    """Takes a key once, and no aliases: a few of those can stand for more than there is memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "aliases (*) are not taken: write it out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if (name := str(key.value)) in seen:
                raise ConstructorError(None, None, f"'{name[:80]}' stands here twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)
