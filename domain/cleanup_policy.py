"""A clean-up policy as data: what expires when, in which order it goes, how fast, and how much at most.

Applications keep theirs in `slipway.toml` (`[[cleanup]]`), Slipway its own in `deployments/cleanup.yaml`. A policy is
approved by its hash: whoever changes a word of it, a hold or a cap included, has it approved anew.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from domain.canonical import digest_of
from domain.errors import ConfigError

PolicyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
ColumnName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\x00\"%]+$")]
TableName = Annotated[str, Field(max_length=127, pattern=r"^[^\x00\".%]{1,63}(\.[^\x00\".%]{1,63})?$")]
OWN = "slipway"
"""The name under which Slipway's own database and things are cleaned up."""
ARCHIVE_ROWS = 50_000
"""Rows of the policy's table in one archive; one Parquet file for each table of it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ThingsPart(_Part):
    """One policy for what is no row: uploads, objects, releases, images, logs, runs, caches of Slipway itself.

    Of each kind the `keep_newest` stay whatever their age, and so does what is in use.
    """

    name: PolicyName
    kind: Literal["uploads", "objects", "releases", "images", "installed", "logs", "runs", "caches"]
    older_than_days: Annotated[int, Field(ge=1, le=36_500)]
    keep_newest: Annotated[int, Field(ge=0)] = 0
    rows_max: Annotated[int, Field(ge=1)] = 1000
    share_percent_max: Annotated[float, Field(gt=0, le=100)] = 100.0
    bytes_max: Annotated[int, Field(ge=1)] = 100_000_000_000
    bucket: str = ""
    prefix: str = ""

    @model_validator(mode="after")
    def _objects_have_a_place(self) -> "ThingsPart":
        if (self.kind == "objects") != bool(self.bucket and self.prefix):
            raise ValueError("kind objects takes a bucket and a prefix, and no other kind takes them")
        return self

    @cached_property
    def hash(self) -> str:
        """What an approval is bound to: everything that the policy says."""
        told = self.model_dump(mode="json")
        # without a place it is what it was before there were any: approvals stay good
        return digest_of({key: value for key, value in told.items() if value != "" or key not in ("bucket", "prefix")})


class ConditionPart(_Part):
    """Rows whose column has one of these values; values are compared as PostgreSQL writes them as text."""

    column: ColumnName
    values: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        if not isinstance(given, list | tuple):
            return given
        return tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in given)


class HoldPart(ConditionPart):
    """A legal hold: rows that stay however old they are, and why."""

    reason: Annotated[str, Field(min_length=3, max_length=200)]


class CleanupPart(_Part):
    """One policy for the expired rows of a table of the application's database.

    Rows go whose `age_column` is older than `older_than_days`, that match every condition of `only` and no hold.
    `children` are the tables that refer to it, those first that are deleted first. Paced: batches of `batch_rows` with
    a pause between them that grows where a probe slows down by `latency_ratio_max` or a replica lags. The caps say how
    much a run may delete without being asked.
    """

    name: PolicyName
    table: TableName
    age_column: ColumnName
    older_than_days: Annotated[int, Field(ge=1, le=36_500)]
    only: tuple[ConditionPart, ...] = ()
    holds: tuple[HoldPart, ...] = ()
    children: tuple[TableName, ...] = ()
    archive: bool = False
    batch_rows: Annotated[int, Field(ge=1, le=ARCHIVE_ROWS)] = 1000
    pause_ms: Annotated[int, Field(ge=0, le=60_000)] = 50
    latency_ratio_max: Annotated[float, Field(ge=1.1, le=100)] = 2.0
    replica_lag_s_max: Annotated[int, Field(ge=1, le=3600)] = 10
    lock_timeout_s: Annotated[int, Field(ge=1, le=60)] = 2
    statement_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 30
    rows_max: Annotated[int, Field(ge=1)] = 100_000
    share_percent_max: Annotated[float, Field(gt=0, le=100)] = 10.0
    bytes_max: Annotated[int, Field(ge=1)] = 1_000_000_000

    @model_validator(mode="after")
    def _children_differ(self) -> "CleanupPart":
        tables = [full_name(name) for name in (*self.children, self.table)]
        if len(tables) != len(set(tables)):
            raise ValueError("a table is named twice in children and table")
        return self

    @cached_property
    def hash(self) -> str:
        """What an approval is bound to: everything that the policy says."""
        return digest_of(self.model_dump(mode="json"))


def full_name(table: str) -> tuple[str, str]:
    """Schema and table; `public` where none is named."""
    schema, dot, name = table.partition(".")
    return (schema, name) if dot else ("public", schema)


def refuse_same_names(policies: Sequence[CleanupPart | ThingsPart]) -> None:
    """Raises: ValueError where two policies have one name."""
    names = [policy.name for policy in policies]
    if len(names) != len(set(names)):
        raise ValueError("two [[cleanup]] tables have the same name")


class OwnPolicies(_Part):
    """Slipway's own policies: for rows, and for things."""

    cleanup: tuple[CleanupPart, ...] = ()
    things: tuple[ThingsPart, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> "OwnPolicies":
        refuse_same_names((*self.cleanup, *self.things))
        return self


def parse_policies(text: str, *, file: str) -> OwnPolicies:
    """Read the policies of a YAML file with the keys `cleanup` and `things`.

    Raises: ConfigError naming the file and each wrong key.
    """
    try:
        return OwnPolicies.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as exc:
        raise ConfigError(f"{file} is not valid YAML: {str(exc)[:256]}. Correct that line.") from exc
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in exc.errors()[:10])
        raise ConfigError(f"{file}: {problems}. Correct these keys (docs/reference/cleanup.md).") from exc


def find_policy(policies: Sequence[CleanupPart], name: str, *, of: str) -> CleanupPart:
    """Raises: ConfigError that lists the names known."""
    for policy in policies:
        if policy.name == name:
            return policy
    names = ", ".join(policy.name for policy in policies) or "none"
    raise ConfigError(f"{of} has no clean-up policy '{name}'. There are: {names}.")
