"""What a server holds, in figures small enough to keep beside a backup: equal figures, equal content.

Taken in the source at a named place of the log (`blocks/fingerprint_postgres.py`), kept in the backup's manifest, and
taken again in what was restored to that place. Counting rows is not enough: a lost segment can leave the right number
of wrong rows, so every row is hashed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DIFFERENCES_MAX = 12


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The content of a server. Names are `database`, or `database.schema.name`.

    Attributes:
        system_id: of the cluster.
        point: the restore point that was made at the same moment; `lsn`: its place in the log. Empty in a copy.
        schema: a hash for each kind of object (tables, indexes, functions, …) by `database/kind`.
        tables: rows and the sum of their hashes. Tables that are not logged are left out: recovery empties them.
        sequences: last value and step. Recovery may leave one ahead, never behind.
        extensions: their versions. `roles`: their attributes and memberships; no password.
    """

    system_id: str
    point: str = ""
    lsn: str = ""
    schema: Mapping[str, str] = field(default_factory=dict[str, str])
    tables: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    sequences: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    extensions: Mapping[str, str] = field(default_factory=dict[str, str])
    roles: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def rows(self) -> int:
        """How many rows were hashed."""
        return sum(rows for rows, _ in self.tables.values())

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {
            "system_id": self.system_id,
            "point": self.point,
            "lsn": self.lsn,
            "schema": dict(self.schema),
            "tables": {name: list(value) for name, value in self.tables.items()},
            "sequences": {name: list(value) for name, value in self.sequences.items()},
            "extensions": dict(self.extensions),
            "roles": dict(self.roles),
        }


def read_fingerprint(value: Mapping[str, Any]) -> Fingerprint:
    """Rebuild a fingerprint from what `as_dict` wrote. Raises: KeyError, TypeError, ValueError for what is none."""
    return Fingerprint(
        system_id=str(value["system_id"]),
        point=str(value["point"]),
        lsn=str(value["lsn"]),
        schema={str(name): str(digest) for name, digest in value["schema"].items()},
        tables={str(name): (int(rows), str(total)) for name, (rows, total) in value["tables"].items()},
        sequences={str(name): (int(last), int(step)) for name, (last, step) in value["sequences"].items()},
        extensions={str(name): str(version) for name, version in value["extensions"].items()},
        roles={str(name): str(attributes) for name, attributes in value["roles"].items()},
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was: its kind (`rows`, `content`, `schema`, …), its name, and both values."""

    kind: str
    name: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.expected} → {self.found}"


def compare_fingerprints(expected: Fingerprint, found: Fingerprint) -> Sequence[Difference]:
    """Compare what was backed up with what was restored; nothing left means equal."""
    return [*_compare(expected, found)]


def _compare(expected: Fingerprint, found: Fingerprint) -> Iterator[Difference]:
    if expected.system_id != found.system_id:
        yield Difference("cluster", "system identifier", expected.system_id, found.system_id)
    for name in sorted({*expected.tables, *found.tables}):
        yield from _compare_table(name, expected.tables.get(name), found.tables.get(name))
    for name in sorted({*expected.sequences, *found.sequences}):
        yield from _compare_sequence(name, expected.sequences.get(name), found.sequences.get(name))
    for kind in ("schema", "extensions", "roles"):
        yield from _compare_words(kind, getattr(expected, kind), getattr(found, kind))


def _compare_table(name: str, expected: tuple[int, str] | None, found: tuple[int, str] | None) -> Iterator[Difference]:
    if expected is None or found is None:
        yield Difference("table", name, _there(expected), _there(found))
    elif expected[0] != found[0]:
        yield Difference("rows", name, str(expected[0]), str(found[0]))
    elif expected[1] != found[1]:
        yield Difference("content", name, f"{expected[0]} rows", "as many rows, other content")


def _compare_sequence(
    name: str, expected: tuple[int, int] | None, found: tuple[int, int] | None
) -> Iterator[Difference]:
    if expected is None or found is None:
        yield Difference("sequence", name, _there(expected), _there(found))
        return
    step = 1 if expected[1] > 0 else -1
    if (found[0] - expected[0]) * step < 0 or expected[1] != found[1]:
        yield Difference("sequence", name, f"{expected[0]} by {expected[1]}", f"{found[0]} by {found[1]}")


def _compare_words(kind: str, expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            yield Difference(kind, name, expected.get(name, "missing")[:40], found.get(name, "missing")[:40])


def _there(value: object) -> str:
    return "missing" if value is None else "there"


def name_differences(differences: Sequence[Difference]) -> str:
    """Name the first differences in one line; how many more there are is said."""
    named = "; ".join(str(one) for one in differences[:DIFFERENCES_MAX])
    more = len(differences) - DIFFERENCES_MAX
    return f"{named}; {more} more" if more > 0 else named
