"""How large an application is in an environment: instances on each site, and what each of them may take.

The ledger says it (`scale.completed`), so that rollouts, rollbacks and restarts keep it; what it does not say is as in
the release's `slipway.toml`. Planned by the flows `scale` and `follow_load`, read by `tasks/instances.py`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from domain.errors import ConfigError
from domain.ledger import Entry
from domain.service import Limits

SIZE_KINDS = ("scale.completed",)
"""The entries that say how large an environment is."""

OPENING = "scale.begun"
CLOSING = ("scale.completed", "scale.rolled_back", "scale.failed")

MIB = 1024**2
INSTANCES_MAX = 64
_BOUNDS: dict[str, tuple[float, float, str]] = {
    "instances": (1, INSTANCES_MAX, "instances on each site"),
    "memory_bytes": (32 * MIB, 1024 * 1024 * MIB, "bytes (32 MiB to 1 TiB)"),
    "cpu_share": (0.05, 256, "cores"),
    "workers": (1, 64, "workers of an instance"),
}


@dataclass(frozen=True, slots=True)
class Size:
    """Instances on each site, and the limits and workers of each; None: as `slipway.toml` says, or no limit."""

    instances: int | None = None
    memory_bytes: int | None = None
    cpu_share: float | None = None
    workers: int | None = None

    @property
    def limits(self) -> Limits:
        return Limits(self.memory_bytes, self.cpu_share)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; what is not said is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def filled(self, *, instances: int, workers: int) -> "Size":
        """Put in what `slipway.toml` says where nothing else was said."""
        return replace(self, instances=self.instances or instances, workers=self.workers or workers)


def read_size_of(value: dict[str, Any]) -> Size:
    """Read what `as_dict` wrote."""
    return Size(**{name: value[name] for name in _BOUNDS if name in value})


def settled_size(entries: Sequence[Entry]) -> Size:
    """Say how large an environment is to be. `entries` are those of `SIZE_KINDS` there, oldest first."""
    return read_size_of(entries[-1].data["size"]) if entries else Size()


def change_size(now: Size, **changes: float | None) -> Size:
    """Make the size after some changes: None leaves a part as it is, 0 makes it as `slipway.toml` says, or unlimited.

    Raises:
        ConfigError: where a value is out of its bounds; the text says which, and what is allowed.
    """
    made = now
    for name, value in changes.items():
        if value is None:
            continue
        low, high, unit = _BOUNDS[name]
        if value != 0 and not low <= value <= high:
            raise ConfigError(f"{name} = {value:g} is not possible. Give {low:g} to {high:g} {unit}, or 0 for none.")
        made = replace(made, **{name: value or None})
    return made


@dataclass(frozen=True, slots=True)
class OpenScale:
    """A change of size that was begun and not closed: by which run, and where."""

    run: str
    application: str
    environment: str


def open_scales(entries: Sequence[Entry]) -> list[OpenScale]:
    """Find what was begun and never closed. `entries` are those of `OPENING` and `CLOSING`, oldest first."""
    pending: dict[OpenScale, None] = {}
    for entry in entries:
        one = OpenScale(entry.event.run, entry.event.application, entry.event.environment)
        if entry.kind == OPENING:
            pending[one] = None
        else:
            pending.pop(one, None)
    return list(pending)


def closed_scale(entries: Sequence[Entry]) -> tuple[str, str]:
    """Say how a run's change of size ended, and why; two empty texts while it has not.

    `entries` are those of `CLOSING` of one run, application and environment, oldest first.
    """
    if not entries:
        return "", ""
    return entries[-1].kind.removeprefix("scale."), str(entries[-1].data.get("cause", ""))
