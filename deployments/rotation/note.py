"""What a rotation under way must remember: the new values beside the old ones, and a note of what it is doing.

The new values rest in `credentials.json` as `<name>.next` until they are in force everywhere that checks them; then
they take the place of the old ones, in one replaced file. `rotation.json` says what is being rotated, and holds no
value. So a rotation that was killed at any line goes on where it was, with the same new values.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from blocks.installation import write_private
from blocks.seal import NEXT
from deployments.stack.credentials import RECIPES, write_role_files
from domain.errors import RefusedError

FILE = "rotation.json"


@dataclass(frozen=True, slots=True)
class Note:
    """A rotation under way: what (the command's word), its id, the pools that it paused, whether no run is at work."""

    what: str
    id: str
    paused: tuple[str, ...] = ()
    is_quiet: bool = False


def read_note(state: Path) -> Note | None:
    """The rotation under way, if there is one."""
    try:
        value = json.loads((state / FILE).read_text())
    except FileNotFoundError:
        return None
    return Note(value["what"], value["id"], tuple(value["paused"]), bool(value["is_quiet"]))


def begin(state: Path, what: str, names: Sequence[str]) -> Note:
    """Begin a rotation, or go on with the one that was interrupted.

    Effect: new values beside the old ones, then the note. May be repeated.
    Raises: RefusedError where another one was interrupted.
    """
    note = read_note(state)
    if note is not None:
        if note.what != what:
            raise RefusedError(
                f"The rotation of {note.what} was interrupted. Finish it first: slipway rotate credential {note.what}"
            )
        return note
    values = read_values(state)
    missing = {f"{name}{NEXT}": RECIPES[name]() for name in names if f"{name}{NEXT}" not in values}
    if missing:
        _write_values(state, values | missing)
    note = Note(what, uuid4().hex)
    write_note(state, note)
    return note


def write_note(state: Path, note: Note) -> None:
    write_private(state / FILE, json.dumps(asdict(note)))


def end(state: Path) -> None:
    """Forget the note: everything is done."""
    (state / FILE).unlink(missing_ok=True)


def next_value(state: Path, name: str) -> str | None:
    """The new value of a secret; None where it is in its place already."""
    return read_values(state).get(f"{name}{NEXT}")


def promote(state: Path, names: Sequence[str]) -> None:
    """Put the new values in the place of the old ones, all at once. May be repeated."""
    values = read_values(state)
    for name in names:
        if f"{name}{NEXT}" in values:
            values[name] = values.pop(f"{name}{NEXT}")
    _write_values(state, values)


def read_values(state: Path) -> dict[str, str]:
    """All of `credentials.json`."""
    return dict(json.loads((state / "credentials.json").read_text()))


def _write_values(state: Path, values: dict[str, str]) -> None:
    write_private(state / "credentials.json", json.dumps(values, indent=2))
    write_role_files(state, values)
