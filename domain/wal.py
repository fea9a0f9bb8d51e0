"""Names of write-ahead log segments: which follows which, and which are missing.

PostgreSQL names a segment by timeline, log and number, eight hexadecimal digits each. Recovery stops, silently, at the
first segment that is missing: so whoever keeps an archive looks for gaps. Used by the engines in `blocks/` and by the
judgement of restore drills.

Source: PostgreSQL 18 manual, 28.6 (WAL internals) and 25.3 (continuous archiving).
"""

import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

SEGMENT_BYTES = 16 * 1024 * 1024
_SEGMENT = re.compile(r"[0-9A-F]{24}")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
_FILE = re.compile(r"[0-9A-F]{24}(\.[0-9A-F]{8}\.backup|\.partial)?|[0-9A-F]{8}\.history")
_LSN = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})")


@dataclass(frozen=True, slots=True)
class WalGap:
    """Segments that are missing between two that are there: the first, the last, and how many."""

    first: str
    last: str
    count: int


def is_segment(name: str) -> bool:
    """Whether a name is that of a whole segment."""
    return _SEGMENT.fullmatch(name) is not None


def is_wal_file(name: str) -> bool:
    """Whether a name is one that PostgreSQL hands to its archive: a segment, a part of one, a label, a history."""
    return _FILE.fullmatch(name) is not None


def timeline_of(name: str) -> int:
    """The timeline of a segment or of a history file."""
    return int(name[:8], 16)


def read_lsn(text: str) -> int:
    """Read a place in the log, `16/B374D848`, as the number of its byte.

    Raises: ValueError where it is none.
    """
    match = _LSN.fullmatch(text.upper())
    if match is None:
        raise ValueError(f"{text!r} is no LSN. Write it as 16/B374D848.")
    return (int(match[1], 16) << 32) + int(match[2], 16)


def write_lsn(number: int) -> str:
    """Write the number of a byte in the log as PostgreSQL does."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def segment_at(timeline: int, lsn: int, *, segment_bytes: int = SEGMENT_BYTES) -> str:
    """Name the segment that holds a place in the log."""
    return _write(timeline, lsn // segment_bytes, segment_bytes)


def next_segment(name: str, *, segment_bytes: int = SEGMENT_BYTES) -> str:
    """Name the segment that follows on the same timeline."""
    return _write(timeline_of(name), _number(name, segment_bytes) + 1, segment_bytes)


def find_gaps(
    names: Collection[str], *, since: str = "", until: str = "", segment_bytes: int = SEGMENT_BYTES
) -> list[WalGap]:
    """Find segments that are missing between the oldest and the newest of each timeline, oldest first.

    Args:
        names: what the archive holds; what is no segment is passed over.
        until: the segment that is the last to be looked at; empty: the newest there is.
        since: the segment from which on everything is needed, missing itself or not; empty: the oldest there is.

    A timeline begins inside a segment that its parent has as well; so what a timeline is not known to have needed
    before its own oldest segment is no gap.
    """
    gaps: list[WalGap] = []
    segments = sorted({name for name in names if is_segment(name) and name[8:] >= since[8:]})
    segments = [name for name in segments if not until or name[8:] <= until[8:]]
    for timeline in sorted({timeline_of(name) for name in segments}):
        numbers = [_number(name, segment_bytes) for name in segments if timeline_of(name) == timeline]
        if since and timeline_of(since) == timeline:
            numbers = sorted({_number(since, segment_bytes) - 1, *numbers})
        gaps += _between(timeline, numbers, segment_bytes)
    if since and not any(timeline_of(name) == timeline_of(since) for name in segments):
        gaps.insert(0, WalGap(since, since, 1))
    return gaps


def missing_histories(names: Collection[str]) -> list[str]:
    """Name the history files that the archive lacks: each timeline but the first begins with one."""
    kept = {match[1] for name in names if (match := _HISTORY.fullmatch(name))}
    timelines = {name[:8] for name in names if is_segment(name)} - {"00000001"}
    return [f"{timeline}.history" for timeline in sorted(timelines - kept)]


def _between(timeline: int, numbers: list[int], segment_bytes: int) -> Iterator[WalGap]:
    for before, after in itertools.pairwise(numbers):
        if after > before + 1:
            first, last = (_write(timeline, number, segment_bytes) for number in (before + 1, after - 1))
            yield WalGap(first, last, after - before - 1)


def _number(name: str, segment_bytes: int) -> int:
    return int(name[8:16], 16) * (0x1_0000_0000 // segment_bytes) + int(name[16:], 16)


def _write(timeline: int, number: int, segment_bytes: int) -> str:
    log, segment = divmod(number, 0x1_0000_0000 // segment_bytes)
    return f"{timeline:08X}{log:08X}{segment:08X}"
