"""A release at work on one site: what to start, what runs, and who gets which share of the traffic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domain.errors import ConfigError
from domain.release import short

SETTINGS_SIGN = "_"
"""Stands for the `@` of a revision in names of services, groups and files: no name of an application can hold it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one instance may take at most; None: no limit of ours. `cpu_share` counts cores: 0.5 is half of one."""

    memory_bytes: int | None = None
    cpu_share: float | None = None

    def differ_from(self, found: "Limits") -> str:
        """Name the first limit that is not in force as wanted; kernels round to pages and periods."""
        for name, tolerance in (("memory_bytes", 65_536.0), ("cpu_share", 0.03)):
            wanted, there = getattr(self, name), getattr(found, name)
            if wanted is not None and (there is None or abs(wanted - there) > tolerance):
                return f"{name} is {'not limited' if there is None else there} instead of {wanted}"
        return ""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a target needs to start the instances of one release; `release` is a revision (`domain/revision.py`).

    `environment` holds the variables of the process, secrets included: never log it.
    """

    application: str
    release: str
    command: tuple[str, ...]
    instances: int
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    stop_limit_s: int = 30
    start_limit_s: int = 60
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Instance:
    """One process (container, pod) of a release. `state` is `running`, `starting`, `stopped` or `failed`.

    `limits` are those really in force, read back; `weaker` says of which this place can't hold all, and what it does
    instead.
    """

    application: str
    release: str
    index: int
    url: str
    state: str
    pid: int | None = None
    since: datetime | None = None
    limits: Limits = Limits()
    weaker: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resized:
    """A release's instances after a resize: those that are as wanted, and those that are to leave once they are idle.

    A place that drains and ends by itself (Kubernetes) has nothing leaving.
    """

    wanted: tuple[Instance, ...]
    leaving: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class Arm:
    """One release behind the load balancer: its share and its addresses (`http://host:port`)."""

    release: str
    weight_percent: int
    addresses: tuple[str, ...]
    health_path: str = "/healthz"


@dataclass(frozen=True, slots=True)
class Probe:
    """One HTTP answer: `status` 0 means that there was none, and `error` says why."""

    url: str
    status: int
    seconds: float
    error: str = ""

    @property
    def is_ok(self) -> bool:
        return self.status == 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. `tail` is the end of its output, both streams, at most some tens of lines."""

    exit_code: int
    seconds: float
    tail: str = ""
    timed_out: bool = False

    @property
    def is_ok(self) -> bool:
        return self.exit_code == 0 and not self.timed_out


def service_name(application: str, release: str) -> str:
    """Name a revision where names must be short and plain: `helpdesk-0123456789ab`, with settings `..._3`."""
    return f"{application}-{short(release).replace('@', SETTINGS_SIGN)}"


def check_arms(arms: Sequence[Arm]) -> None:
    """Refuse arms that could not share an application's traffic; none at all is legal.

    Raises:
        ConfigError: where a release comes twice, shares are not 0..100 with a sum of 100, or a share has no address.
    """
    releases = [short(arm.release) for arm in arms]
    weights = [arm.weight_percent for arm in arms]
    if len(set(releases)) != len(releases):
        raise ConfigError(f"A release has two arms: {', '.join(releases)}. Give each release one.")
    if arms and (sum(weights) != 100 or min(weights) < 0):
        raise ConfigError(f"Shares of {weights} percent do not add up to 100. Give each arm 0..100, 100 in all.")
    empty = [short(arm.release) for arm in arms if arm.weight_percent and not arm.addresses]
    if empty:
        raise ConfigError(f"Release {empty[0]} has a share of the traffic but no instance. Start it first.")
