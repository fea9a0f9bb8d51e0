"""Usage in PostgreSQL: `UsageStore` on the schema `usage`. Hours and days are summed up where the samples are.

A reading replaces what its source said of the same interval before. Days are summed up from hours, so that they stay
right when the samples themselves have gone.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import numpy as np
from psycopg import Connection
from psycopg.rows import DictRow

from blocks.postgres_session import PostgresSession
from domain.series import DAY_S, HOUR_S, Kind, Series
from domain.usage import Gap, Interval, Keeping, Reading, Resource, find_gaps

_FAILURE_CHARACTERS_MAX = 500

_SUM_HOURS = """
INSERT INTO usage.stretch (resource, step_s, at, mean, maximum, last, count)
SELECT resource, 3600, date_bin('1 hour', at, 'epoch'), avg(value), max(value),
    (array_agg(value ORDER BY at DESC))[1], count(*)
FROM usage.sample WHERE resource = ANY(%(resources)s) AND at >= %(begin)s AND at < %(end)s GROUP BY 1, 3
"""
_SUM_DAYS = """
INSERT INTO usage.stretch (resource, step_s, at, mean, maximum, last, count)
SELECT resource, 86400, date_bin('1 day', at, 'epoch'), sum(mean * count) / sum(count), max(maximum),
    (array_agg(last ORDER BY at DESC))[1], sum(count)
FROM usage.stretch WHERE step_s = 3600 AND resource = ANY(%(resources)s) AND at >= %(begin)s AND at < %(end)s
GROUP BY 1, 3
"""
_FORGET_WITHIN = """
DELETE FROM usage.stretch
WHERE step_s = %(step_s)s AND resource = ANY(%(resources)s) AND at >= %(begin)s AND at < %(end)s
"""

_READ = """
SELECT resource, string_agg(timestamptz_send(at), ''::bytea ORDER BY at) AS at,
    string_agg(float8send({column}), ''::bytea ORDER BY at) AS value
FROM usage.stretch WHERE step_s = %(step_s)s AND resource = ANY(%(ids)s) GROUP BY resource
"""
_READ_STRETCHES = {column: _READ.replace("{column}", column) for column in ("mean", "last")}
_POSTGRES_EPOCH = np.datetime64("2000-01-01T00:00:00", "s")


class PostgresUsageStore:
    """Fulfils `domain.ports.UsageStore`."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    def record(self, source: str, interval: Interval, reading: Reading) -> None:
        """Keep a reading in one transaction; hours and days that it touches are summed up anew."""
        with self._session.transaction() as connection:
            ids = _resource_ids(connection, source, [one.resource for one in reading.measured])
            within = {"source": source, "begin": interval.begin, "end": interval.end}
            connection.execute(
                "DELETE FROM usage.sample USING usage.resource r WHERE resource = r.id AND r.source = %(source)s"
                " AND at >= %(begin)s AND at < %(end)s",
                within,
            )
            with connection.cursor().copy("COPY usage.sample (resource, at, value) FROM STDIN") as copy:
                for one in reading.measured:
                    for at, value in zip(one.times.astype("datetime64[s]").tolist(), one.values.tolist(), strict=True):
                        copy.write_row((ids[one.resource], at.replace(tzinfo=UTC), value))
            _note_reading(connection, source, interval, failure="")
            touched = connection.execute("SELECT id FROM usage.resource WHERE source = %s", (source,)).fetchall()
            _sum_up(connection, [row["id"] for row in touched], interval)

    def fail(self, source: str, interval: Interval, reason: str) -> None:
        """Note that a source gave nothing for an interval. What was read of it before stays."""
        with self._session.transaction() as connection:
            _note_reading(connection, source, interval, failure=reason[:_FAILURE_CHARACTERS_MAX] or "unknown")

    def newest(self, source: str) -> datetime | None:
        """The end of the newest interval that was read; failures don't count, so that they are asked for again."""
        rows = self._session.rows(
            'SELECT max("end") AS newest FROM usage.reading WHERE source = %s AND failure = %s', (source, "")
        )
        return rows[0]["newest"]

    def resources(self) -> list[Resource]:
        rows = self._session.rows("SELECT key FROM usage.resource ORDER BY key")
        return [Resource.parse(row["key"]) for row in rows]

    def series(self, *, step_s: int, resources: Collection[Resource] | None = None) -> list[Series]:
        """Read series by hours or days, sorted by key; a query for each kind, as bytes: there may be millions."""
        known = {row["key"]: row["id"] for row in self._session.rows("SELECT key, id FROM usage.resource")}
        wanted = known if resources is None else [resource.key for resource in resources if resource.key in known]
        found: dict[str, Series] = {}
        for column, is_usage in (("mean", True), ("last", False)):
            ids = {known[key]: key for key in wanted if (Resource.parse(key).kind is Kind.USAGE) == is_usage}
            statement = _READ_STRETCHES[column]
            for row in self._session.rows(statement, {"step_s": step_s, "ids": list(ids)}) if ids else ():
                key = ids[row["resource"]]
                found[key] = _as_series(Resource.parse(key), row, step_s=step_s)
        return [found[key] for key in sorted(found)]

    def gaps(self, source: str, *, begin: datetime, end: datetime) -> list[Gap]:
        """Stretches without a reading, with the reason of the failure that covers their beginning."""
        rows = self._session.rows(
            'SELECT begin, "end", failure FROM usage.reading WHERE source = %s AND "end" > %s AND begin < %s',
            (source, begin, end),
        )
        read = [Interval(row["begin"], row["end"]) for row in rows if not row["failure"]]
        failed = [(Interval(row["begin"], row["end"]), row["failure"]) for row in rows if row["failure"]]
        return [
            Gap(source, gap, next((why for of, why in failed if of.begin < gap.end and of.end > gap.begin), ""))
            for gap in find_gaps(read, begin=begin, end=end)
        ]

    def prune(self, keeping: Keeping, *, now: datetime) -> int:
        """Forget what is older than it is kept, at each resolution."""
        gone = 0
        kept_days = ((HOUR_S, keeping.hour_days), (DAY_S, keeping.day_days))
        with self._session.transaction() as connection:
            oldest = now - timedelta(days=keeping.raw_days)
            gone += connection.execute("DELETE FROM usage.sample WHERE at < %s", (oldest,)).rowcount
            for step_s, days in kept_days:
                oldest = now - timedelta(days=days)
                forget = "DELETE FROM usage.stretch WHERE step_s = %s AND at < %s"
                gone += connection.execute(forget, (step_s, oldest)).rowcount
            oldest = now - timedelta(days=keeping.day_days)
            gone += connection.execute('DELETE FROM usage.reading WHERE "end" < %s', (oldest,)).rowcount
        return gone


def _resource_ids(connection: Connection[DictRow], source: str, resources: Collection[Resource]) -> dict[Resource, int]:
    keys = {resource.key: resource for resource in resources}
    connection.execute(
        "INSERT INTO usage.resource (key, source) SELECT unnest(%s::text[]), %s"
        " ON CONFLICT (key) DO UPDATE SET source = EXCLUDED.source WHERE usage.resource.source <> EXCLUDED.source",
        (list(keys), source),
    )
    rows = connection.execute("SELECT id, key FROM usage.resource WHERE key = ANY(%s)", (list(keys),)).fetchall()
    return {keys[row["key"]]: row["id"] for row in rows}


def _note_reading(connection: Connection[DictRow], source: str, interval: Interval, *, failure: str) -> None:
    connection.execute(
        'INSERT INTO usage.reading (source, begin, "end", failure) VALUES (%s, %s, %s, %s)'
        ' ON CONFLICT (source, begin) DO UPDATE SET "end" = greatest(usage.reading."end", EXCLUDED."end"),'
        " failure = EXCLUDED.failure WHERE EXCLUDED.failure = '' OR usage.reading.failure <> ''",
        (source, interval.begin, interval.end, failure),
    )


def _sum_up(connection: Connection[DictRow], ids: list[int], interval: Interval) -> None:
    """Sum the touched hours up from samples, then the touched days from hours."""
    hours, days = _whole(interval, step_s=HOUR_S), _whole(interval, step_s=DAY_S)
    of_hours = {"resources": ids, "begin": hours.begin, "end": hours.end, "step_s": HOUR_S}
    connection.execute(_FORGET_WITHIN, of_hours)
    connection.execute(_SUM_HOURS, of_hours)
    of_days = {"resources": ids, "begin": days.begin, "end": days.end, "step_s": DAY_S}
    connection.execute(_FORGET_WITHIN, of_days)
    connection.execute(_SUM_DAYS, of_days)


def _whole(interval: Interval, *, step_s: int) -> Interval:
    """Widen an interval to whole hours or days."""
    begin = int(interval.begin.timestamp()) // step_s * step_s
    end = -(-int(interval.end.timestamp()) // step_s) * step_s
    return Interval(datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC))


def _as_series(resource: Resource, row: DictRow, *, step_s: int) -> Series:
    """Read what the server sends of its own accord: microseconds since 2000, and doubles, both the large end first."""
    microseconds = np.frombuffer(row["at"], dtype=">i8").astype(np.int64)
    times = _POSTGRES_EPOCH + (microseconds // 1_000_000).astype("timedelta64[s]")
    values = np.frombuffer(row["value"], dtype=">f8").astype(np.float64)
    return Series(resource.key, times, values, resource.unit, resource.kind, step_s)
