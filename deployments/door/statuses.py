"""From the ledger to the forges: every commit status that a run asked for is sent, however often a forge is away.

Runs as one thread of the door, which has the tokens; the ledger is the queue. A forge that does not answer is asked
again after seconds, then minutes, and given up after some twenty; a run waits for none of that. What a newer status of
the same commit and stage has overtaken is not sent any more.
"""

import logging
import threading
import time
from collections.abc import Callable

from blocks.world import World
from domain.commit_status import (
    ANSWERED_KINDS,
    DELAYS_S,
    WANTED_KINDS,
    WantedStatus,
    find_unanswered,
    status_kind,
)
from domain.errors import ConfigError, SlipwayError, TransientError
from domain.ledger import Entry, Event

log = logging.getLogger("slipway.door")

LOOK_S = 1.0
LOOKED_BACK = 2000
"""How many of the newest entries about statuses a door that starts looks through."""

_TROUBLED_S = 60.0


class StatusSender:
    """Sends what is wanted and not answered yet; a status that was sent twice, after a death in between, is one."""

    def __init__(self, world: World, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._world = world
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._entries: list[Entry] | None = None
        self._attempts: dict[int, int] = {}
        self._due: dict[int, float] = {}
        self._forge_due: dict[str, float] = {}

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Send what is wanted, now and whenever something is, until told to stop."""
        while not self._stopping.is_set():
            pause_s = LOOK_S
            try:
                self.send_wanted()
            except TransientError:
                pause_s = _TROUBLED_S / 10
            except Exception:  # a mistake of ours must not end the thread
                log.exception("status.troubled")
                pause_s = _TROUBLED_S
            self._stopping.wait(pause_s)

    def send_wanted(self) -> int:
        """Send everything that is due, oldest first; returns how many were sent. Raises: TransientError while
        PostgreSQL is away."""
        entries = self._look()
        unanswered = find_unanswered(entries)
        kept = {one.seq for one in unanswered}
        self._entries = [entry for entry in entries if entry.seq in kept] or entries[-1:]
        now = self._monotonic()
        return sum(self._try(one, now) for one in unanswered if self._due.get(one.seq, 0) <= now)

    def _look(self) -> list[Entry]:
        """Read what came since the last look, behind what was not answered then; oldest first."""
        ledger, kinds = self._world.ledger, (*WANTED_KINDS, *ANSWERED_KINDS)
        if self._entries is None:
            return list(reversed(ledger.entries(kinds=kinds, newest_first=True, limit=LOOKED_BACK)))
        after = max((entry.seq for entry in self._entries), default=0)
        return [*self._entries, *ledger.entries(kinds=kinds, after=after)]

    def _try(self, wanted: WantedStatus, now: float) -> bool:
        """Send one, once; True where it was sent. What fails for good is written down with the reason."""
        try:
            access = self._world.applications.forge_access(wanted.application)
            if access is None:
                return self._close(wanted, "failed", "its token was taken away")
            if self._forge_due.get(access.url, 0) > now:
                return False  # it did not answer a moment ago
            application = self._world.applications.get(wanted.application)
        except ConfigError as exc:
            return self._close(wanted, "failed", str(exc))
        try:
            self._world.commit_statuses.send(application, access, wanted.commit, wanted.status)
        except TransientError as exc:
            return self._put_off(wanted, access.url, str(exc), now)
        except SlipwayError as exc:
            return self._close(wanted, "failed", str(exc))
        self._close(wanted, "sent")
        return True

    def _put_off(self, wanted: WantedStatus, url: str, problem: str, now: float) -> bool:
        attempt = self._attempts[wanted.seq] = self._attempts.get(wanted.seq, 0) + 1
        if attempt > len(DELAYS_S):
            return self._close(wanted, "failed", problem)
        self._due[wanted.seq] = now + DELAYS_S[attempt - 1]
        self._forge_due[url] = now + DELAYS_S[0]
        return False

    def _close(self, wanted: WantedStatus, verb: str, problem: str = "") -> bool:
        kind = status_kind(wanted.status.stage, verb)
        facts = {"stage": wanted.status.stage, "state": wanted.status.state, "commit": wanted.commit}
        data = {**facts, "wanted": wanted.seq, **({"error": problem[:256]} if problem else {})}
        key = f"{kind}:{wanted.seq}"
        self._world.ledger.append(
            Event(kind, application=wanted.application, run=wanted.run, actor="door", key=key, data=data)
        )
        for kept in (self._attempts, self._due):
            kept.pop(wanted.seq, None)
        if problem:
            log.warning("status.failed application=%s stage=%s reason=%s", wanted.application, facts["stage"], problem)
        return False
