"""What an application says of itself: `slipway.toml`, validated.

Read by `ci` from the commit that it builds and packed into the bundle, so that `cd` obeys the file of that release and
no other. An unknown key or a wrong type is a `ConfigError` that names file, key and what is allowed.
"""

import tomllib
from collections.abc import Container
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.cleanup_policy import CleanupPart, refuse_same_names
from domain.errors import ConfigError
from domain.schema import Declaration

FILE = "slipway.toml"
WORKERS = "{workers}"
"""Stands in a command for the number of workers."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]


def _stays_inside(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("must stay inside the repository")
    return path


RelativePath = Annotated[str, Field(pattern=r"^\w[\w./-]*$"), AfterValidator(_stays_inside)]
HttpPath = Annotated[str, Field(pattern=r"^/[\w./?=&%-]*$")]
Command = Annotated[tuple[str, ...], Field(min_length=1)]
BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")]
EnvironmentKey = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApplicationPart(_Part):
    """Who it is."""

    name: Name
    description: str = ""


class BuildPart(_Part):
    """How a commit becomes a bundle: locked wheels, then commands of the application's own.

    They reach the package registry; `network = true` gives them all of this machine's network.
    """

    requirements: RelativePath = "requirements.lock"
    commands: tuple[Command, ...] = ()
    network: bool = False
    limit_s: Annotated[int, Field(ge=1, le=3600)] = 600


class CheckPart(_Part):
    """One check of `ci`; it passes when its command ends with 0 within its limit.

    `database = true` gives it a throw-away PostgreSQL in `DATABASE_URL`; `network = true` this machine's network,
    where else it reaches the package registry only. One with a database is run once more while its release is live, on
    the schema of a release that brings migrations, unless `on_new_schema = false`.
    """

    name: Name
    kind: Literal["unit", "integration"] = "unit"
    command: Command
    requirements: RelativePath | None = None
    database: bool = False
    on_new_schema: bool = True
    network: bool = False
    limit_s: Annotated[int, Field(ge=1, le=3600)] = 300


class ImagePart(_Part):
    """The container image, built where a Docker engine answers."""

    dockerfile: RelativePath = "Dockerfile"
    base: str | None = None
    limit_s: Annotated[int, Field(ge=1, le=3600)] = 900


class ServicePart(_Part):
    """How one instance starts. `{host}`, `{port}` and `{workers}` in the command are replaced; SIGTERM ends it
    gracefully. `workers_variable` names a variable that tells it how many workers it is to have.

    `config` and `secrets` name what must be set in an environment before a release may go there.
    """

    command: Command
    instances: Annotated[int, Field(ge=1, le=16)] = 2
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    workers_variable: EnvironmentKey | None = None
    environment: dict[EnvironmentKey, str] = {}
    config: tuple[EnvironmentKey, ...] = ()
    secrets: tuple[EnvironmentKey, ...] = ()
    stop_limit_s: Annotated[int, Field(ge=1, le=600)] = 30

    @property
    def takes_workers(self) -> bool:
        """Whether an instance can be told how many workers it is to have."""
        return self.workers_variable is not None or any(WORKERS in word for word in self.command)


class HealthPart(_Part):
    """Where an instance says that it lives and that it may have traffic."""

    live: HttpPath = "/healthz"
    ready: HttpPath = "/readyz"
    start_limit_s: Annotated[int, Field(ge=1, le=600)] = 60


class DatabasePart(_Part):
    """The application's database: the folder of its migrations and the command that applies them.

    A statement of theirs that waits longer than `lock_timeout_s` for a lock is ended, and the command is run again, at
    most `lock_attempts` times in all. What they mean to other releases: `domain/schema.py`.
    """

    migrations: RelativePath = "migrations"
    migrate: Command
    limit_s: Annotated[int, Field(ge=1, le=3600)] = 300
    lock_timeout_s: Annotated[int, Field(ge=1, le=600)] = 5
    lock_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    compatible_with_live: bool = False
    readable_from: Annotated[str, Field(pattern=r"^\w[\w.-]*$")] | None = None

    @property
    def declaration(self) -> Declaration:
        """What this release says of its migrations."""
        return Declaration(self.compatible_with_live, self.readable_from or "")


class MiddlewarePart(_Part):
    """What else the service talks to. `slipway dev` starts it; elsewhere the addresses are settings."""

    redis: bool = False
    rabbitmq: bool = False

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables in which the service finds the addresses."""
        return (*(("REDIS_URL",) if self.redis else ()), *(("AMQP_URL",) if self.rabbitmq else ()))


class AcceptancePart(_Part):
    """Tests of the running service, in the test environment; `SLIPWAY_URL` is the entry, `SLIPWAY_HOST` its name."""

    command: Command
    requirements: RelativePath | None = None
    limit_s: Annotated[int, Field(ge=1, le=3600)] = 300


class SmokePart(_Part):
    """Read-only requests that a new site must answer with 200 before it counts as good."""

    paths: Annotated[tuple[HttpPath, ...], Field(min_length=1)] = ("/",)


class StepPart(_Part):
    """One step of the canary: this share of the traffic, watched for this long."""

    weight_percent: Annotated[int, Field(ge=1, le=99)]
    watch_s: Annotated[int, Field(ge=5, le=86_400)]


class RolloutPart(_Part):
    """How production takes a release. The default watches for 15 minutes before full share.

    `unclear_limit_s` is how long a person has to answer when traffic was too little to judge.
    """

    steps: Annotated[tuple[StepPart, ...], Field(min_length=1)] = (
        StepPart(weight_percent=5, watch_s=180),
        StepPart(weight_percent=20, watch_s=300),
        StepPart(weight_percent=50, watch_s=420),
    )
    watch_after_s: Annotated[int, Field(ge=0, le=86_400)] = 900
    unclear_limit_s: Annotated[int, Field(ge=10, le=86_400)] = 3600
    drain_s: Annotated[int, Field(ge=0, le=600)] = 10
    approval_limit_s: Annotated[int, Field(ge=10, le=604_800)] = 86_400

    @model_validator(mode="after")
    def _weights_rise(self) -> "RolloutPart":
        weights = [step.weight_percent for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError("steps must rise in weight_percent")
        return self


class ReferencePart(_Part):
    """A column of the database that holds keys of objects: every restore drill looks whether these are there."""

    bucket: BucketName
    table: Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,62}(\.[A-Za-z_]\w{0,62})?$")]
    column: Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,62}$")]


class DataPart(_Part):
    """What the data must always be like: suites of expectations, JSON files in the repository; and where else it lies.

    Every restore drill judges the restored database by those of the release that is live in production. Its `buckets`
    are copied every night, drilled, and come back with a recovery.
    """

    expectations: Annotated[tuple[RelativePath, ...], Field(max_length=20)] = ()
    buckets: Annotated[tuple[BucketName, ...], Field(max_length=20)] = ()
    references: Annotated[tuple[ReferencePart, ...], Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _references_lead_somewhere(self) -> "DataPart":
        if not (self.expectations or self.buckets):
            raise ValueError("[data] names nothing: give it expectations or buckets")
        if strange := [one.bucket for one in self.references if one.bucket not in self.buckets]:
            raise ValueError(f"references name bucket '{strange[0]}', which is not among buckets")
        return self


class ObjectivesPart(_Part):
    """What the service promises; the judge compares with the live release, and with these where there is none.

    `error_ratio_min_excess` and `latency_ratio_tolerance` are the smallest harm worth a rollback. `warm_up_s` is left
    out of the latency judgement. `requests_min` is how many answers of the canary a step needs to be judged at all.
    """

    error_ratio_max: Annotated[float, Field(gt=0, lt=1)] = 0.05
    error_ratio_min_excess: Annotated[float, Field(ge=0, lt=1)] = 0.005
    latency_p99_s_max: Annotated[float, Field(gt=0)] = 2.0
    latency_ratio_tolerance: Annotated[float, Field(ge=1.01, le=10)] = 1.05
    warm_up_s: Annotated[int, Field(ge=0, le=600)] = 60
    requests_min: Annotated[int, Field(ge=1)] = 100


class ApplicationFile(_Part):
    """The whole of `slipway.toml`."""

    application: ApplicationPart
    build: BuildPart = BuildPart()
    check: Annotated[tuple[CheckPart, ...], Field(min_length=1)]
    image: ImagePart | None = None
    service: ServicePart
    health: HealthPart = HealthPart()
    database: DatabasePart | None = None
    middleware: MiddlewarePart = MiddlewarePart()
    acceptance: AcceptancePart | None = None
    smoke: SmokePart = SmokePart()
    data: DataPart | None = None
    rollout: RolloutPart = RolloutPart()
    objectives: ObjectivesPart = ObjectivesPart()
    cleanup: tuple[CleanupPart, ...] = ()

    def names_with_network(self) -> tuple[str, ...]:
        """What asks for the machine's network: `build`, and checks by name."""
        build = ("build",) if self.build.network and self.build.commands else ()
        return (*build, *(check.name for check in self.check if check.network))

    def secrets_needed(self, config: Container[str]) -> tuple[str, ...]:
        """What must be set as a secret in an environment with this configuration, before the release may go there.

        An address of middleware may be set as either; with a password in it, it is a secret.
        """
        known = {*self.service.environment, *self.service.config, *self.service.secrets}
        addresses = (name for name in self.middleware.variables if name not in known and name not in config)
        return (*self.service.secrets, *addresses)

    @model_validator(mode="after")
    def _check_names_differ(self) -> "ApplicationFile":
        names = [check.name for check in self.check]
        if len(names) != len(set(names)):
            raise ValueError("two [[check]] tables have the same name")
        return self

    @model_validator(mode="after")
    def _buckets_are_its_own(self) -> "ApplicationFile":
        prefix = f"{self.application.name}-"
        if strange := [name for name in (self.data.buckets if self.data else ()) if not name.startswith(prefix)]:
            raise ValueError(f"data.buckets: '{strange[0]}' must begin with '{prefix}'")
        if self.data and self.data.references and self.database is None:
            raise ValueError("[[data.references]] needs a [database]")
        return self

    @model_validator(mode="after")
    def _clean_ups_differ(self) -> "ApplicationFile":
        refuse_same_names(self.cleanup)
        if self.cleanup and self.database is None:
            raise ValueError("[[cleanup]] needs a [database]")
        return self


def parse_application(text: str, *, file: str = FILE) -> ApplicationFile:
    """Read the text of a `slipway.toml`.

    Raises:
        ConfigError: naming the file, each wrong key with what was found, and the keys or values allowed there.
    """
    try:
        return ApplicationFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{file} is not valid TOML: {exc}. Correct that line.") from exc
    except ValidationError as exc:
        problems = "; ".join(_explain_problem(dict(problem)) for problem in exc.errors()[:10])
        raise ConfigError(f"{file}: {problems}. Correct these keys (docs/reference/slipway-toml.md).") from exc


def _explain_problem(problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the whole file"
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{where}' (allowed here: {', '.join(_keys_at(problem['loc'][:-1]))})"
    if problem["type"] == "missing":
        return f"key '{where}' is missing"
    found = repr(problem.get("input"))[:80]
    return f"key '{where}': {problem['msg']}, found {found}"


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """List the keys of the table at `path`, by walking the models."""
    model: Any = ApplicationFile
    for part in path:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            model = _model_in(model.model_fields[part].annotation)
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
