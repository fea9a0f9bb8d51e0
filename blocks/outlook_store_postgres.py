"""Outlooks, advice and alerts in PostgreSQL: `OutlookStore` on the schema `usage`, a thousand rows in one go."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from psycopg import Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import DictRow

from blocks.postgres_session import PostgresSession
from domain.advice import Advice, Earlier, Move
from domain.alerting import Alert
from domain.forecast import BackTest
from domain.limits import Limit
from domain.outlook import Outlook
from domain.series import Array, Remark
from domain.usage import Resource

_ROWS = ("mean", "lo80", "hi80", "lo95", "hi95")
_OUTLOOK = (
    'resource, place, at, run, used, "limit", limit_source, threshold_ratio, lead_days, step_s, start,'
    " mean, lo80, hi80, lo95, hi95, back_test, probability, days, crosses_on, crosses_lo80, crosses_hi80,"
    " answer, remarks"
)
_OUTLOOK_TYPES = (
    *("text", "int4", "timestamptz", "text", "float8", "float8", "text", "float8", "float8", "int4", "timestamptz"),
    *["float4[]"] * len(_ROWS),
    *("text", "float8", "int4", "date", "date", "date", "text", "text"),
)
"""Of the columns above; what is JSON travels as its text."""
_REAL_OID, _REAL_MAX = 700, float(np.finfo(np.float32).max)
_ADVICE = "run, resource, what, at, move, now, wanted, reason, cost_per_month, parameters, settled"


class PostgresOutlookStore:
    """Fulfils `domain.ports_capacity.OutlookStore`."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    def keep(self, run: str, outlooks: Sequence[Outlook]) -> None:
        with self._session.transaction() as connection:
            connection.execute("DELETE FROM usage.outlook")
            connection.execute("DELETE FROM usage.advice WHERE run = %s", (run,))
            _copy_outlooks(connection, _outlook_rows(run, outlooks))
            with connection.cursor().copy(f"COPY usage.advice ({_ADVICE}) FROM STDIN".encode()) as copy:
                for row in _advice_rows(run, outlooks):
                    copy.write_row(row)

    def newest(self) -> list[Outlook]:
        rows = self._session.rows(
            "SELECT o.*, a.what, a.move, a.now, a.wanted, a.reason, a.cost_per_month, a.parameters, a.settled"
            " FROM usage.outlook o LEFT JOIN usage.advice a ON a.run = o.run AND a.resource = o.resource"
            " ORDER BY o.place"
        )
        return [_as_outlook(row) for row in rows]

    def earlier(self, *, run: str, since: datetime) -> dict[tuple[str, str], list[Earlier]]:
        rows = self._session.rows(
            "SELECT resource, what, at, wanted FROM usage.advice WHERE run <> %s AND at >= %s ORDER BY at", (run, since)
        )
        found: defaultdict[tuple[str, str], list[Earlier]] = defaultdict(list)
        for row in rows:
            found[row["resource"], row["what"]].append(Earlier(row["at"], row["wanted"]))
        return dict(found)

    def alerts(self) -> list[Alert]:
        rows = self._session.rows("SELECT resource, opened_at, told FROM usage.alert ORDER BY resource")
        return [Alert(Resource.parse(row["resource"]), row["opened_at"], row["told"]) for row in rows]

    def open_alert(self, resource: Resource, *, at: datetime) -> None:
        self._session.rows(
            "INSERT INTO usage.alert (resource, opened_at) VALUES (%s, %s) ON CONFLICT DO NOTHING", (resource.key, at)
        )

    def mark_told(self, resource: Resource) -> None:
        self._session.rows("UPDATE usage.alert SET told = true WHERE resource = %s", (resource.key,))

    def close_alert(self, resource: Resource) -> None:
        self._session.rows("DELETE FROM usage.alert WHERE resource = %s", (resource.key,))

    def prune(self, *, before: datetime) -> int:
        with self._session.transaction() as connection:
            return connection.execute("DELETE FROM usage.advice WHERE at < %s", (before,)).rowcount


class _RealArrayDumper(Dumper):
    """An array as PostgreSQL's binary `real[]`: a thousand forecasts are a million numbers, too many to print."""

    format = Format.BINARY
    oid = 1021

    def dump(self, obj: Array) -> bytes:
        items = np.empty(len(obj), dtype=[("size", ">i4"), ("value", ">f4")])
        items["size"], items["value"] = 4, np.clip(obj, -_REAL_MAX, _REAL_MAX)
        head = np.array([1, 0, _REAL_OID, len(obj), 1], dtype=">i4")  # dimensions, no nulls, type, length, first index
        return head.tobytes() + items.tobytes()


def _copy_outlooks(connection: Connection[DictRow], rows: Iterator[tuple[Any, ...]]) -> None:
    cursor = connection.cursor()
    cursor.adapters.register_dumper(np.ndarray, _RealArrayDumper)
    with cursor.copy(f"COPY usage.outlook ({_OUTLOOK}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.set_types(_OUTLOOK_TYPES)
        for row in rows:
            copy.write_row(row)


def _outlook_rows(run: str, outlooks: Sequence[Outlook]) -> Iterator[tuple[Any, ...]]:
    for place, one in enumerate(outlooks):
        limit = (
            (one.limit.value, one.limit.source, one.limit.threshold_ratio, one.limit.lead_days) if one.limit else None
        )
        test = one.back_test
        yield (
            one.resource.key,
            place,
            one.at,
            run,
            one.used if np.isfinite(one.used) else None,
            *(limit or (None, "", None, None)),
            one.step_s,
            None if one.start is None else _moment(one.start),
            *(None if one.band is None else one.band[i] for i in range(len(_ROWS))),
            None if test is None else json.dumps([_number(test.mae), _number(test.relative), test.origins]),
            one.probability,
            one.days,
            *(_day(day) for day in (one.median, one.lo80, one.hi80)),
            _remark_text(one.answer),
            json.dumps([_as_json(remark) for remark in one.remarks]),
        )


def _advice_rows(run: str, outlooks: Sequence[Outlook]) -> Iterator[tuple[Any, ...]]:
    for one in outlooks:
        if (advice := one.advice) is not None:
            numbers = (advice.now, advice.wanted, _remark_text(advice.reason), advice.cost_per_month)
            parameters = json.dumps(advice.parameters)
            yield (run, one.resource.key, advice.what, one.at, str(advice.move), *numbers, parameters, one.is_settled)


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _moment(at: np.datetime64) -> datetime:
    return at.astype("datetime64[s]").item().replace(tzinfo=UTC)


def _day(at: np.datetime64 | None) -> date | None:
    return None if at is None else at.astype("datetime64[D]").item()


def _as_json(remark: Remark) -> list[Any]:
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in remark.values.items()}
    return [remark.key, values]


def _remark_text(remark: Remark) -> str:
    return json.dumps(_as_json(remark))


def _as_outlook(row: DictRow) -> Outlook:
    resource = Resource.parse(row["resource"])
    limit = None
    if row["limit"] is not None:
        limit = Limit(resource, row["limit"], row["limit_source"], row["threshold_ratio"], row["lead_days"])
    band = None if row["mean"] is None else np.array([row[name] for name in _ROWS], dtype=float)
    mae, relative, origins = row["back_test"] or (None, None, 0)
    return Outlook(
        resource,
        row["at"],
        np.nan if row["used"] is None else row["used"],
        Remark(*row["answer"]),
        limit,
        row["step_s"],
        None if row["start"] is None else np.datetime64(row["start"].astimezone(UTC).replace(tzinfo=None), "s"),
        band,
        None if band is None else BackTest(_or_nan(mae), _or_nan(relative), origins),
        row["probability"],
        row["days"],
        *(None if row[name] is None else np.datetime64(row[name], "D") for name in _DAYS),
        remarks=tuple(Remark(*one) for one in row["remarks"]),
        advice=_as_advice(row),
        is_settled=bool(row["settled"]),
    )


_DAYS = ("crosses_on", "crosses_lo80", "crosses_hi80")


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _as_advice(row: DictRow) -> Advice | None:
    if row["what"] is None:
        return None
    numbers = (row["now"], row["wanted"], Remark(*row["reason"]), row["cost_per_month"], row["parameters"])
    return Advice(row["resource"], Move(row["move"]), row["what"], *numbers)
