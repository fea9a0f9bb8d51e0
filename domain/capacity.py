"""What a team sets about capacity: sources, limits, prices, plans; `capacity.yaml`, validated.

Read by `blocks/capacity_file.py`, used by `collect_usage`, `capacity` and `what_if`; the forms of `what_if` are the
same models. Unknown keys are refused: a threshold that is spelt wrongly would otherwise be no threshold.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from domain.amounts import read_amount
from domain.errors import ConfigError
from domain.limits import LEAD_DAYS, THRESHOLD_RATIO, Limit
from domain.plans import ModelOnGpu, Planned, VectorStorage
from domain.usage import UNITS, Keeping, Metric, Resource

REFERENCE = "docs/reference/capacity-yaml.md"
_KINDS = ("machine", "postgres", "s3", "traefik", "prometheus", "kubernetes", "rabbitmq", "redis")
_PLACE = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
Place = Annotated[str, Field(pattern=_PLACE)]
Amount = float | str


def _without_password(given: str) -> str:
    """An address as it may stand in messages. Raises: ValueError where it holds a password."""
    if "password=" in given or ":" in given.partition("://")[2].rpartition("@")[0]:
        raise ValueError("an address holds no password: add it to credentials.json, and name it with password_secret")
    return given


Address = Annotated[str, AfterValidator(_without_password)]
Percent = Annotated[float, Field(gt=0, le=100)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def unit_of(resources: str) -> str:
    """The unit of a resource's key or pattern. Raises: ConfigError where it begins with no metric."""
    metric = resources.partition(":")[0]
    if metric not in set(Metric):
        known = ", ".join(sorted(Metric))
        raise ConfigError(
            f"'{resources[:80]}' names no resource. Write METRIC:OWNER:NAME, METRIC being one of {known}."
        )
    return UNITS[Metric(metric)]


class MachineSource(_Model):
    """This machine: processor, memory, disks, NVIDIA's GPUs. `owner` is its name in keys; empty for its host name."""

    kind: Literal["machine"]
    owner: str = ""


class PostgresSource(_Model):
    """A PostgreSQL server; without `url` the stack's own. `url` holds no password: `password_secret` names it."""

    kind: Literal["postgres"]
    owner: Place = "main"
    url: Address = ""
    password_secret: str = ""


class S3Source(_Model):
    """An S3 server; without `url` the stack's own. Keys are named, never written here."""

    kind: Literal["s3"]
    owner: Place = "main"
    url: Address = ""
    access_key_secret: str = ""
    secret_key_secret: str = ""
    pages_max: Annotated[int, Field(ge=1, le=10_000)] = 200


class TraefikSource(_Model):
    """The load balancers of environments; all of them where none is named."""

    kind: Literal["traefik"]
    environments: tuple[str, ...] = ()


class PrometheusSource(_Model):
    """A Prometheus server; a token, or a user and the name of a password, where it asks for them."""

    kind: Literal["prometheus"]
    place: Place = "main"
    url: Address
    token_secret: str = ""
    user: str = ""
    password_secret: str = ""


class RedisSource(_Model):
    """One database of a Redis: lengths of lists and streams whose keys match `queues`, or of all of them."""

    kind: Literal["redis"]
    owner: Place = "redis"
    url: Address
    user: str = ""
    password_secret: str = ""
    queues: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = ()


class KubernetesSource(_Model):
    """A cluster: `url` of its API and the name of a token, or a context of this machine's kubeconfig."""

    kind: Literal["kubernetes"]
    place: Place = "main"
    url: Address = ""
    token_secret: str = ""
    ca_file: str = ""
    context: str = ""


class RabbitSource(_Model):
    """RabbitMQ's management API: lengths of queues."""

    kind: Literal["rabbitmq"]
    owner: Place = "main"
    url: Address
    user: str = "guest"
    password_secret: str = ""


Source = Annotated[
    MachineSource
    | PostgresSource
    | S3Source
    | TraefikSource
    | PrometheusSource
    | KubernetesSource
    | RabbitSource
    | RedisSource,
    Field(discriminator="kind"),
]


class Collecting(_Model):
    """How far back a source is asked after an absence, and how long what it said is kept."""

    reach_back_hours: Annotated[int, Field(ge=1, le=24 * 90)] = 48
    longest_hours: Annotated[int, Field(ge=1, le=168)] = 6
    raw_days: Annotated[int, Field(ge=1, le=90)] = 7
    hour_days: Annotated[int, Field(ge=14, le=400)] = 70
    day_days: Annotated[int, Field(ge=60, le=4000)] = 800

    @property
    def keeping(self) -> Keeping:
        return Keeping(self.raw_days, self.hour_days, self.day_days)


class LimitRule(_Model):
    """What holds for resources by pattern; the first rule that has a field decides it."""

    resources: str
    value: Amount | None = None
    threshold_percent: Percent | None = None
    lead_days: Annotated[float, Field(ge=0, le=365)] | None = None
    source: str = "capacity.yaml"

    @field_validator("resources")
    @classmethod
    def _known(cls, given: str) -> str:
        unit_of(given)
        return given

    def amount(self) -> float | None:
        """The limit in the resource's unit. Raises: ConfigError where it is no amount above 0."""
        if self.value is None:
            return None
        amount = read_amount(self.value, unit_of(self.resources))
        if amount <= 0:
            raise ConfigError(
                f"the limit of {self.resources} is {self.value}. Give an amount above 0; leave it out for none."
            )
        return amount


class Price(_Model):
    """What a month of so much (`per`) of these resources costs, in the team's currency."""

    resources: str
    per_month: Annotated[float, Field(ge=0, le=1e12)]
    per: Amount = 1.0

    @property
    def per_unit(self) -> float:
        return self.per_month / read_amount(self.per, unit_of(self.resources))

    def check(self) -> None:
        """Raises: ConfigError where `per` is no amount above 0."""
        if read_amount(self.per, unit_of(self.resources)) <= 0:
            raise ConfigError(f"the price of {self.resources} is per {self.per}. Give an amount above 0.")


class PlannedEvent(_Model):
    """Something that will happen: load changes by so many per cent from a day on, or an amount comes or goes."""

    resources: str = Field(description="Key or pattern: requests:production:*")
    begin: date = Field(description="The day from which it holds")
    load_percent: float = Field(0.0, ge=-100, description="+30: 30 % more users from then on")
    amount: Amount = Field(0.0, description="What comes once, as 20 GiB; -20 GiB is freed")
    reason: str = ""

    def planned(self) -> Planned:
        unit = unit_of(self.resources)
        return Planned(
            self.resources,
            self.begin,
            load_factor=1 + self.load_percent / 100,
            amount=read_amount(self.amount, unit),
            reason=self.reason or self.resources,
        )


class GpuModel(_Model):
    """A model served on GPUs: memory and throughput of one replica, and what is asked of all of them."""

    name: str
    memory: Amount = Field(description="Of one replica: weights, activations, cache")
    requests_per_s: float = Field(gt=0, le=1e9, description="What one replica answers at full load")
    requests_per_s_peak: float = Field(ge=0, le=1e9, description="What is asked at the worst")
    gpu_memory: Amount = Field(description="Of one GPU")
    target_percent: Percent = 70.0
    replicas_min: Annotated[int, Field(ge=1)] = 1

    def on_gpu(self) -> ModelOnGpu:
        return ModelOnGpu(
            self.name,
            memory_bytes=read_amount(self.memory, "bytes"),
            requests_per_s=self.requests_per_s,
            requests_per_s_peak=self.requests_per_s_peak,
            gpu_memory_bytes=read_amount(self.gpu_memory, "bytes"),
            target_ratio=self.target_percent / 100,
            replicas_min=self.replicas_min,
        )


class VectorPlan(_Model):
    """Documents to come into a vector store, on a day."""

    resources: str = Field(description="What grows: vectors:main:app/public.piece, or a database's key")
    begin: date
    documents: Annotated[int, Field(gt=0)]
    chunks_per_document: Annotated[float, Field(gt=0)]
    dimensions: Annotated[int, Field(gt=0, le=16_000)]
    value_type: Literal["vector", "halfvec", "bit"] = "vector"
    text_bytes_per_chunk: Annotated[float, Field(ge=0)] = 0.0
    index: Literal["hnsw", "ivfflat", ""] = "hnsw"
    links: Annotated[int, Field(ge=2, le=100)] = 16

    def storage(self) -> VectorStorage:
        given = self.model_dump(exclude={"resources", "begin"})
        return VectorStorage(**given)

    def planned(self) -> Planned:
        unit_of(self.resources)
        words = f"{self.documents} × {self.chunks_per_document:g} × {self.dimensions}"
        return Planned(self.resources, self.begin, amount=self.storage().total_bytes, reason=words)


class ServiceRule(_Model):
    """A service that `scale` can change: whose load a resource is, and what one instance of it carries."""

    resource: str = Field(description="requests:production:desk, or cpu and memory of it")
    application: str
    environment: str
    requests_per_s: Annotated[float, Field(gt=0)] | None = None
    per_month: Annotated[float, Field(ge=0, le=1e9)] | None = None
    instances: Annotated[int, Field(ge=1)] | None = None
    zones: Annotated[int, Field(ge=1, le=9)] = 1
    startup_s: Annotated[float, Field(ge=0)] = 20.0


class CapacityPlan(_Model):
    """The whole file."""

    sources: tuple[Source, ...] = ()
    collecting: Collecting = Collecting()
    limits: tuple[LimitRule, ...] = ()
    prices: tuple[Price, ...] = ()
    services: tuple[ServiceRule, ...] = ()
    planned: tuple[PlannedEvent, ...] = ()
    models: tuple[GpuModel, ...] = ()
    gpus: Annotated[int, Field(ge=0)] | None = None
    vectors: tuple[VectorPlan, ...] = ()

    def all_planned(self) -> list[Planned]:
        """Everything that is known to come."""
        return [*(one.planned() for one in self.planned), *(one.planned() for one in self.vectors)]

    def limit_of(self, resource: Resource, found: Limit | None) -> Limit | None:
        """What counts for a resource: what is set here, field by field, before what a source found.

        Raises: ConfigError where a limit can't be.
        """
        rules = [rule for rule in self.limits if fnmatchcase(resource.key, rule.resources)]
        value = next((rule for rule in rules if rule.value is not None), None)
        ratio = next((rule.threshold_percent for rule in rules if rule.threshold_percent is not None), None)
        lead = next((rule.lead_days for rule in rules if rule.lead_days is not None), None)
        if value is not None:
            found = Limit(resource, cast(float, value.amount()), value.source)
        if found is None:
            return None
        return replace(
            found,
            threshold_ratio=THRESHOLD_RATIO if ratio is None else ratio / 100,
            lead_days=LEAD_DAYS if lead is None else lead,
        )

    def price_of(self, resource: Resource) -> float | None:
        """Of one unit for a month; None where none is set."""
        return next((one.per_unit for one in self.prices if fnmatchcase(resource.key, one.resources)), None)

    def service_of(self, resource: Resource) -> ServiceRule | None:
        return next((one for one in self.services if fnmatchcase(resource.key, one.resource)), None)


def read_plan(value: Any) -> CapacityPlan:
    """Validate what a file holds; an empty one sets nothing.

    Raises: ConfigError with one line for each thing that is wrong, and where.
    """
    try:
        plan = CapacityPlan.model_validate({} if value is None else value)
    except ValidationError as exc:
        lines = [f"  - {_where(one['loc'])}: {_what(one)}" for one in exc.errors()[:10]]
        raise ConfigError("\n".join(["capacity.yaml can't be used:", *lines, f"See {REFERENCE}."])) from exc
    if problems := list(_amount_problems(plan)):
        lines = [f"  - {one}" for one in problems[:10]]
        raise ConfigError("\n".join(["capacity.yaml can't be used:", *lines, f"See {REFERENCE}."]))
    names = [source_place(one) for one in plan.sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"capacity.yaml: sources named twice: {', '.join(twice)}. Give each its own owner or place.")
    return plan


def _amount_problems(plan: CapacityPlan) -> Iterator[str]:
    """What is wrong with amounts and names, which are read in the unit of their resource."""
    checks: dict[str, Sequence[Callable[[], object]]] = {
        "limits": [one.amount for one in plan.limits],
        "prices": [one.check for one in plan.prices],
        "services": [partial(Resource.parse, one.resource) for one in plan.services],
        "planned": [one.planned for one in plan.planned],
        "models": [one.on_gpu for one in plan.models],
        "vectors": [one.planned for one in plan.vectors],
    }
    for key, ones in checks.items():
        for place, check in enumerate(ones):
            try:
                check()
            except ConfigError as exc:
                yield f"{key}.{place}: {exc}"


def source_place(source: Any) -> str:
    """Kind and place of a source, as it is named in records."""
    place = getattr(source, "owner", None) or getattr(source, "place", None) or ""
    return f"{source.kind}:{place}"


def _where(loc: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in loc if part not in _KINDS) or "the file"


def _what(error: Any) -> str:
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return f"no such source. Give `kind`, one of {', '.join(_KINDS)}"
    if error["type"] == "extra_forbidden":
        return "no such key. Correct its spelling, or take it away"
    if error["loc"][-1:] == ("url",) or not isinstance(error["input"], str | int | float):
        return str(error["msg"]).removeprefix("Value error, ")  # what was given may hold a password
    return f"{error['msg']} (given: {str(error['input'])[:60]})"
