"""Who may decide, kept on this machine for the hour in which PostgreSQL does not answer: `STATE/break-glass/`.

The seeds rest as sealed as in the database. Used codes and locks are noted here by both ways, so that a code is good
once, and a lock holds, whether it was given to a running Slipway before or is tried on it afterwards.
"""

import base64
import fcntl
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.approvers_postgres import PostgresApprovers
from blocks.installation import write_private
from blocks.one_time_code import matching_step
from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.errors import ConfigError
from domain.lockout import WRONG_CODES_MAX, CodeUse, Tries, weigh_code
from domain.ports import Approver

_USED_MAX = 2000


class KeptPeople:
    """Fulfils `domain.ports.Approvers` from files, as far as that goes: changing people takes the database."""

    def __init__(self, folder: Path, seal: Seal, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._people = folder / "people.json"
        self._codes = folder / "codes.json"
        self._seal = seal
        self._clock = clock

    def keep(self, people: Sequence[tuple[Approver, bytes]]) -> None:
        """Replace the copy. `people` come with their sealed seeds. Effect: one file, 0600."""
        self._people.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = [
            {
                "name": person.name,
                "roles": list(person.roles),
                "logins": list(person.logins),
                "seed": base64.b64encode(bytes(seed)).decode(),
            }
            for person, seed in people
        ]
        write_private(self._people, json.dumps(kept, indent=1))

    def enrol(self, approver: Approver) -> str:
        raise _refuse("enrolled")

    def change(self, approver: Approver) -> None:
        raise _refuse("changed")

    def renew(self, name: str) -> str:
        raise _refuse("given a new seed")

    def revoke(self, name: str) -> None:
        raise _refuse("revoked")

    def get(self, name: str) -> Approver | None:
        return next((person for person in self.list() if person.name == name), None)

    def list(self) -> list[Approver]:
        return [Approver(one["name"], tuple(one["roles"]), tuple(one["logins"])) for one in self._read()]

    def use_code(self, name: str, code: str) -> CodeUse:
        """Check a one-time code against the sealed copy, and use it up; wrong ones count, and lock, as always."""
        if self.get(name) is None:
            return CodeUse("unknown")
        step = self.step_of(name, code)
        is_first_use = step is not None and self.note_used(name, step)
        with self._locked() as codes:
            tries = _read_tries(codes, name)
            use, after = weigh_code(tries, is_right=step is not None, is_first_use=is_first_use, now=self._clock())
            _write_tries(codes, name, after)
            return use

    def step_of(self, name: str, code: str) -> int | None:
        """Which time step this code of a person belongs to, within the allowed skew; None for none."""
        for one in self._read():
            if one["name"] == name:
                return matching_step(self._seal.open(base64.b64decode(one["seed"])), code, now=self._clock())
        return None

    def note_used(self, name: str, step: int) -> bool:
        """Use up a time step of a person; False where it was used before. Effect: a file, on disk."""
        with self._locked() as codes:
            used = codes.setdefault("used", [])
            if [name, step] in used:
                return False
            codes["used"] = [*used, [name, step]][-_USED_MAX:]
            return True

    def note_use(self, name: str, use: CodeUse) -> None:
        """Note what the database made of a code, so that its locks hold here."""
        if use.status not in ("ok", "wrong", "locked"):
            return
        with self._locked() as codes:
            wrong = 0 if use.is_ok else WRONG_CODES_MAX - use.left
            _write_tries(codes, name, Tries(wrong, use.locked_until))

    def locked_until(self, name: str) -> datetime | None:
        """Until when no code of a person counts; None where they do."""
        with self._locked() as codes:
            until = _read_tries(codes, name).locked_until
        return until if until is not None and self._clock() < until else None

    @contextmanager
    def _locked(self) -> Generator[dict[str, Any]]:
        """Lend what is known of codes, alone, and write it back where it was changed."""
        folder = self._codes.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".codes.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            text = self._codes.read_text() if self._codes.exists() else "{}"
            codes: dict[str, Any] = json.loads(text)
            yield codes
            if (changed := json.dumps(codes)) != text:
                write_private(self._codes, changed)

    def _read(self) -> Sequence[dict[str, Any]]:
        try:
            return json.loads(self._people.read_text())
        except FileNotFoundError as exc:
            raise ConfigError(
                f"{self._people} is missing: nobody can be verified while PostgreSQL is away. Run `slipway up`."
            ) from exc


def _refuse(done: str) -> ConfigError:
    return ConfigError(f"Nobody can be {done} while PostgreSQL is away. Run `slipway up` first.")


def _read_tries(codes: dict[str, Any], name: str) -> Tries:
    wrong, until = codes.get("tries", {}).get(name, (0, None))
    return Tries(wrong, datetime.fromisoformat(until) if until else None)


def _write_tries(codes: dict[str, Any], name: str, tries: Tries) -> None:
    until = tries.locked_until.isoformat() if tries.locked_until else None
    codes.setdefault("tries", {})[name] = [tries.wrong, until]


class KeepingApprovers(PostgresApprovers):
    """The approvers in PostgreSQL, with the sealed copy kept beside them."""

    def __init__(
        self,
        session: PostgresSession,
        seal: Seal,
        people: KeptPeople,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(session, seal, clock)
        self._kept = people

    def keep_copy(self) -> None:
        """Write the sealed copy anew."""
        seeds = {row["name"]: row["seed"] for row in self._session.rows("SELECT name, seed FROM desk.approver")}
        self._kept.keep([(person, seeds[person.name]) for person in self.list() if person.name in seeds])

    def enrol(self, approver: Approver) -> str:
        uri = super().enrol(approver)
        self.keep_copy()
        return uri

    def change(self, approver: Approver) -> None:
        super().change(approver)
        self.keep_copy()

    def renew(self, name: str) -> str:
        uri = super().renew(name)
        self.keep_copy()
        self._kept.note_use(name, CodeUse("ok"))  # a lock is over
        return uri

    def revoke(self, name: str) -> None:
        super().revoke(name)
        self.keep_copy()

    def use_code(self, name: str, code: str) -> CodeUse:
        """Check a code and use it up, here and there; noted here first, so that it can't be good twice at once."""
        try:
            until, step = self._kept.locked_until(name), self._kept.step_of(name, code)
        except ConfigError:  # no copy yet, or one sealed with another key: the database decides alone
            return super().use_code(name, code)
        is_first_use = step is None or self._kept.note_used(name, step)
        use = super().use_code(name, code)
        if use.is_ok and until is not None:
            return CodeUse("locked", until, 0)
        if use.is_ok and not is_first_use:
            return CodeUse("used")
        self._kept.note_use(name, use)
        return use
