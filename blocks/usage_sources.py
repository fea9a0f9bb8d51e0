"""The sources of usage that `capacity.yaml` names, opened; and what else of the stack's own is asked about capacity.

Called by the worlds. What a source needs and can't have (a secret, a port) is told when it is opened.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo

from blocks.bucket import Account
from blocks.installation import Installation, read_secret
from blocks.postgres_server import SUPERUSER
from blocks.traefik_api import TraefikApi
from blocks.usage_kubernetes import Access, KubernetesUsage, read_context
from blocks.usage_machine import MachineUsage
from blocks.usage_postgres import PostgresUsage
from blocks.usage_prometheus import PrometheusUsage
from blocks.usage_rabbitmq import RabbitUsage
from blocks.usage_redis import RedisUsage
from blocks.usage_s3 import S3Usage
from blocks.usage_traefik import TraefikUsage
from domain.capacity import (
    CapacityPlan,
    KubernetesSource,
    MachineSource,
    PostgresSource,
    PrometheusSource,
    RabbitSource,
    RedisSource,
    S3Source,
    Source,
    TraefikSource,
    source_place,
)
from domain.environment import Environment
from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.ports import UsageSource
from domain.usage import Interval, Reading

LOOKS_FOLDER = "usage"


def open_sources(
    plan: CapacityPlan, installation: Installation, environments: Callable[[], list[Environment]]
) -> list[UsageSource]:
    """Open every source that is set; one that can't be opened says why when it is read."""
    opened: list[UsageSource] = []
    for source in plan.sources:
        try:
            if isinstance(source, TraefikSource):
                opened += _open_traefik(source, installation, environments())
            else:
                opened.append(_open(source, installation))
        except ConfigError as exc:
            opened.append(UnusableSource(source_place(source), str(exc)))
    return [CarefulSource(one) for one in opened]


_SHAPES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)
"""What reading an answer that is quite other than promised ends in."""


@dataclass(frozen=True, slots=True)
class CarefulSource:
    """Fulfils `domain.ports.UsageSource` by another: an answer that makes no sense costs its own series only."""

    source: UsageSource

    @property
    def name(self) -> str:
        return self.source.name

    def read(self, interval: Interval) -> Reading:
        """As the source. Raises: TransientError also for an answer of an unknown shape."""
        try:
            return self.source.read(interval)
        except _SHAPES as exc:
            raise self._senseless(exc) from exc

    def limits(self) -> list[Limit]:
        """As the source. Raises: TransientError also for an answer of an unknown shape."""
        try:
            return self.source.limits()
        except _SHAPES as exc:
            raise self._senseless(exc) from exc

    def _senseless(self, exc: Exception) -> TransientError:
        told = f"{self.name} gave what makes no sense ({type(exc).__name__}: {str(exc)[:120]}). Look at it by hand."
        return TransientError(told)


@dataclass(frozen=True, slots=True)
class UnusableSource:
    """Fulfils `domain.ports.UsageSource` for one whose settings can't be used: it says so whenever it is asked."""

    name: str
    reason: str

    def read(self, interval: Interval) -> Reading:
        raise ConfigError(self.reason)

    def limits(self) -> list[Limit]:
        raise ConfigError(self.reason)


def _open(source: Source, installation: Installation) -> UsageSource:
    secret = _secrets(installation.state)
    match source:
        case MachineSource():
            return MachineUsage(source.owner or socket.gethostname().replace(":", "_"))
        case PostgresSource():
            return PostgresUsage(source.owner, postgres_url(source, installation))
        case S3Source():
            return S3Usage(source.owner, _account(source, installation), pages_max=source.pages_max)
        case PrometheusSource():
            password = secret(source.password_secret)
            token = secret(source.token_secret)
            return PrometheusUsage(source.url, place=source.place, token=token, user=source.user, password=password)
        case RabbitSource():
            return RabbitUsage(source.owner, source.url, user=source.user, password=secret(source.password_secret))
        case RedisSource():
            memory = installation.state / LOOKS_FOLDER / f"redis-{source.owner}.json"
            password = secret(source.password_secret)
            return RedisUsage(
                source.owner, source.url, memory, user=source.user, password=password, queues=source.queues
            )
        case KubernetesSource():
            given = Access(source.url, secret(source.token_secret), source.ca_file)
            return KubernetesUsage(source.place, given if source.url else read_context(source.context))
        case TraefikSource():
            raise ConfigError("Load balancers are opened by environment.")


def _secrets(state: Path) -> Callable[[str], str]:
    def read(name: str) -> str:
        return read_secret(name, state=state) if name else ""

    return read


def postgres_url(source: PostgresSource, installation: Installation) -> Callable[[str], str]:
    """Give the connection URL of a database by its name: of the server that is set, or of the stack's own."""
    secret = _secrets(installation.state)
    own = f"postgresql://{SUPERUSER}@127.0.0.1:{installation.ports.get('postgres', 5432)}"

    def url_of(database: str) -> str:
        name = source.password_secret or ("" if source.url else "postgres_superuser")
        password = {"password": secret(name)} if name else {}
        try:
            return make_conninfo(source.url or own, dbname=database, **password)
        except ProgrammingError as exc:
            raise ConfigError(
                f"postgres:{source.owner}: the url is no PostgreSQL URL. Write postgresql://USER@HOST."
            ) from exc

    return url_of


def _account(source: S3Source, installation: Installation) -> Account:
    secret = _secrets(installation.state)
    return Account(
        source.url or f"http://127.0.0.1:{installation.ports.get('s3', 8333)}",
        access_key=secret(source.access_key_secret or "s3_usage_access_key"),
        secret_key=secret(source.secret_key_secret or "s3_usage_secret_key"),
    )


def _open_traefik(
    source: TraefikSource, installation: Installation, environments: list[Environment]
) -> list[UsageSource]:
    known = {environment.name: environment for environment in environments}
    if unknown := [name for name in source.environments if name not in known]:
        raise ConfigError(f"capacity.yaml: no environment named '{unknown[0]}'. Use some of: {', '.join(known)}.")
    return [
        TraefikUsage(
            name,
            [TraefikApi.of(installation, f"{name}-{site.name}") for site in known[name].sites],
            installation.state / LOOKS_FOLDER / f"traefik-{name}.json",
        )
        for name in source.environments or known
    ]
