"""Deploy what `prefect.yaml` describes, in this process: no second Python that imports everything again.

Reads the same file as `prefect deploy --all` and makes the same deployments (a live test compares them), with one
difference: an unknown key is an error here, where Prefect's command skips every deployment and still looks fine.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from domain.errors import ConfigError

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScheduleSpec(_Part):
    """One schedule: `cron`, `interval` in seconds, or `rrule`."""

    slug: str
    timezone: str = "UTC"
    cron: str | None = None
    interval: float | None = None
    rrule: str | None = None
    anchor_date: datetime | None = None
    active: bool = True
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> "ScheduleSpec":
        if sum(kind is not None for kind in (self.cron, self.interval, self.rrule)) != 1:
            raise ValueError("needs exactly one of cron, interval, rrule")
        return self


class PoolSpec(_Part):
    """Where a deployment's runs start."""

    name: str
    job_variables: dict[str, Any] = {}


class LimitSpec(_Part):
    """How many runs of a deployment at once, and what happens to one more."""

    limit: int
    collision_strategy: str = "ENQUEUE"
    grace_period_seconds: int | None = None


class DeploymentSpec(_Part):
    """One deployment of `prefect.yaml`."""

    name: str
    entrypoint: str
    description: str = ""
    tags: list[str] = []
    work_pool: PoolSpec
    parameters: dict[str, Any] = {}
    schedules: list[ScheduleSpec] = []
    concurrency_limit: LimitSpec | None = None

    @property
    def full_name(self) -> str:
        """`<flow>/<deployment>`, as Prefect's API wants it."""
        return f"{self.entrypoint.rpartition(':')[2]}/{self.name}"

    @property
    def active_schedules(self) -> int:
        return sum(1 for schedule in self.schedules if schedule.active)


class PrefectFile(BaseModel):
    """The whole file; `definitions` holds its YAML anchors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    name: str
    definitions: dict[str, Any] = {}
    pull: list[dict[str, Any]]
    deployments: list[DeploymentSpec]


def read_prefect_file(path: Path) -> PrefectFile:
    """Read `prefect.yaml`.

    Raises: ConfigError naming each wrong or unknown key.
    """
    try:
        value = dict(yaml.safe_load(path.read_text()))
        value.pop("prefect-version", None)
        return PrefectFile.model_validate(value)
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in exc.errors()[:5])
        raise ConfigError(f"{path}: {problems}. Correct these keys; Prefect would skip every deployment.") from exc


def load_flows(code: Path, specs: Sequence[DeploymentSpec]) -> dict[str, "Flow[..., Any]"]:
    """Import every flow from the copy of the code, by deployment's full name. Takes seconds; needs no server."""
    from prefect.flows import load_flow_from_entrypoint

    sys.path.insert(0, str(code))
    importlib.invalidate_caches()
    return {spec.full_name: load_flow_from_entrypoint(f"{code}/{spec.entrypoint}") for spec in specs}


def deploy(
    client: "SyncPrefectClient", file: PrefectFile, flows: Mapping[str, "Flow[..., Any]"], *, version: str
) -> None:
    """Make or update every deployment of the file.

    Effect: may be repeated; a deployment keeps its id.
    """
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.utilities.callables import parameter_schema

    for spec in file.deployments:
        flow, limit = flows[spec.full_name], spec.concurrency_limit
        options = limit and ConcurrencyOptions(
            collision_strategy=ConcurrencyLimitStrategy(limit.collision_strategy),
            grace_period_seconds=limit.grace_period_seconds,
        )
        client.create_deployment(
            flow_id=client.create_flow(flow),
            name=spec.name,
            version=version,
            description=spec.description or flow.description,
            tags=spec.tags,
            entrypoint=spec.entrypoint,
            path=".",
            pull_steps=file.pull,
            work_pool_name=spec.work_pool.name,
            job_variables=spec.work_pool.job_variables,
            parameters=spec.parameters,
            parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
            enforce_parameter_schema=True,
            schedules=[_schedule(one) for one in spec.schedules],
            concurrency_limit=limit.limit if limit else None,
            concurrency_options=options or None,
        )


def _schedule(spec: ScheduleSpec) -> "DeploymentScheduleCreate":
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

    if spec.cron is not None:
        schedule = CronSchedule(cron=spec.cron, timezone=spec.timezone)
    elif spec.interval is not None:
        anchor = {"anchor_date": spec.anchor_date} if spec.anchor_date else {}
        schedule = IntervalSchedule(interval=timedelta(seconds=spec.interval), timezone=spec.timezone, **anchor)
    else:
        schedule = RRuleSchedule(rrule=spec.rrule or "", timezone=spec.timezone)
    return DeploymentScheduleCreate(schedule=schedule, active=spec.active, parameters=spec.parameters, slug=spec.slug)
