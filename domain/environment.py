"""Environments: where releases run, as data.

Written as YAML under `deployments/environments/`, read by path and validated here; nothing is hard-coded elsewhere.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,20}$")]
Role = Literal["primary", "standby"]


class Site(BaseModel):
    """One place of an environment, with a load balancer and instances of its own.

    `target`, `balancer` and `metrics` name Prefect block documents as `type-slug/name`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Name
    role: Role = "primary"
    target: str
    balancer: str
    metrics: str


class Environment(BaseModel):
    """One environment: its sites, and what entering it takes.

    `entry` is how a rollout takes it: `direct` (start, check, switch) or `canary` (standby first, then judged steps).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Name
    sites: Annotated[tuple[Site, ...], Field(min_length=1)]
    entry: Literal["direct", "canary"] = "direct"
    approval: bool = False
    database_shared_between_sites: bool = False
    notes: str = ""

    @model_validator(mode="after")
    def _one_primary(self) -> "Environment":
        if [site.role for site in self.sites].count("primary") != 1:
            raise ValueError(f"environment {self.name} needs exactly one site with role: primary")
        return self

    @property
    def primary(self) -> Site:
        return next(site for site in self.sites if site.role == "primary")

    @property
    def standbys(self) -> tuple[Site, ...]:
        return tuple(site for site in self.sites if site.role == "standby")
