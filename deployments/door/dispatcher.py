"""From the inbox to Prefect: every kept delivery is settled once, however often anything in between goes away.

Runs as one thread of the door. The inbox is the queue; the idempotency key makes a start that was not noted harmless.
"""

import logging
import threading
import time

from blocks.world import World
from domain.delivery import Ignored, Push, delivery_key, explain_ignored, is_about
from domain.errors import ConfigError, SlipwayError, TransientError
from domain.ledger import Event
from domain.ports import Application, Delivery
from domain.pushes import PUSH_KINDS, RECEIVED, explain_replay, judge_push
from domain.release import short
from domain.rollout import GATE_CLOSING, GATE_OPENING, open_gates

log = logging.getLogger("slipway.door")

LOOK_S = 2.0
BACK_OFF_S_MAX = 15.0
PUSHES_MAX = 100_000
BATCH = 20
"""How many deliveries are in memory at once; each may have 25 MB."""

_TROUBLED_S = 60.0


class Dispatcher:
    """Settles waiting deliveries: `started` with the run's id, `ignored`, `replayed` or `refused` with the reason."""

    def __init__(self, world: World, *, look_s: float = LOOK_S) -> None:
        self._world = world
        self._look_s = look_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._troubled: dict[int, float] = {}
        self._start_failures = 0
        self._start_after = 0.0

    def wake(self) -> None:
        """Something new is in the inbox."""
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Settle what waits, now and whenever something comes, until told to stop."""
        failures = 0
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self.settle_waiting()
                failures = 0
                self._wake.wait(self._look_s)
            except TransientError as exc:
                failures += 1
                if failures == 1:
                    log.warning("delivery.delayed reason=%s", exc)
                self._stopping.wait(_back_off_s(failures))

    def settle_waiting(self) -> int:
        """Settle everything that waits, oldest first; how many.

        While Prefect is away, what starts something keeps waiting, and what starts nothing is settled all the same.
        Raises: TransientError where PostgreSQL is away.
        """
        now = time.monotonic()
        waiting = [one for one in self._world.inbox.waiting(limit=BATCH) if self._troubled.get(one.id, 0) <= now]
        return sum(self._settle(delivery) for delivery in waiting)

    def _settle(self, delivery: Delivery) -> bool:
        """Settle one delivery; False where it has to wait."""
        try:
            found = self._read(delivery)
            if found is None:
                return True
            return time.monotonic() >= self._start_after and self._try_start(delivery, *found)
        except TransientError:
            raise
        except SlipwayError as exc:
            self._close(delivery, "refused", application="", note=str(exc))
            return True
        except Exception:  # a mistake of ours must not stop the deliveries behind it; this one is tried again
            log.exception("delivery.troubled id=%s", delivery.delivery_id)
            self._troubled[delivery.id] = time.monotonic() + _TROUBLED_S
            return False

    def _read(self, delivery: Delivery) -> tuple[Application, Push] | None:
        """Close a delivery that starts nothing; else return what it starts."""
        found = self._world.applications.find(forge=delivery.forge, repository=delivery.repository)
        application = found.name if found else ""
        self._record(delivery, "received", application, size_bytes=len(delivery.body))
        if found is None:
            self._close(delivery, "ignored", application, "the application is not registered any more")
            return None
        try:
            read = self._world.forge(delivery.forge).read_push(headers=delivery.headers, body=delivery.body)
            reason = _why_nothing_starts(read, found)
        except ConfigError as exc:
            self._close(delivery, "refused", application, str(exc))
            return None
        if isinstance(read, Push) and is_about(read, repository=found.repository, branch=found.branch):
            known = self._admit(delivery, found, read)
            if known:
                self._close(delivery, "replayed", application, known)
                return None
        if isinstance(read, Ignored) or reason:
            self._close(delivery, "ignored", application, reason)
            return None
        return found, read

    def _admit(self, delivery: Delivery, application: Application, push: Push) -> str:
        """Write down a push that is new, once, before anything is started; else say why it is none."""
        key = f"{RECEIVED}:{_key(delivery)}"
        earlier = self._world.ledger.entries(kinds=PUSH_KINDS, application=application.name, limit=PUSHES_MAX)
        if not any(entry.event.key == key for entry in earlier):
            standing = judge_push(earlier, push)
            if standing == "replayed" or (standing == "returned" and not self._is_there(application, push)):
                return explain_replay(push)
        self._record(
            delivery,
            "",
            application.name,
            kind=RECEIVED,
            actor=push.pusher,
            commit=push.after,
            before=push.before,
            branch=push.branch,
            requester=push.pusher,
            requester_names=[*push.pusher_names, push.pusher_email],
        )
        return ""

    def _is_there(self, application: Application, push: Push) -> bool:
        """Ask the repository itself whether the branch is where the push says; no answer is a no."""
        try:
            self._world.sources.fetch(application.name, application.url)
            return self._world.sources.head(application.name, application.branch) == push.after
        except ConfigError:  # there is no such branch (any more)
            return push.is_deletion
        except TransientError as exc:
            log.warning("delivery.unsure application=%s reason=%s", application.name, exc)
            return False

    def _try_start(self, delivery: Delivery, application: Application, push: Push) -> bool:
        """Start `ci` for a push and settle it; False where Prefect can't take it now, and for a while after that."""
        try:
            run = self._world.flow_runs.start(
                "ci/ci",
                parameters={
                    "application": application.name,
                    "commit": push.after,
                    "branch": push.branch,
                    "requester": push.pusher,
                    "requester_email": push.pusher_email,
                    "before": push.before,
                    "delivery": delivery.delivery_id,
                },
                idempotency_key=f"ci:{_key(delivery)}",
                name=f"{application.name} {short(push.after)}",
            )
        except TransientError as exc:
            self._start_failures += 1
            self._start_after = time.monotonic() + _back_off_s(self._start_failures)
            if self._start_failures == 1:
                log.warning("delivery.delayed reason=%s", exc)
            return False
        self._start_failures = 0
        facts = {"commit": push.after, "branch": push.branch, "requester": push.pusher}
        self._record(delivery, "started", application.name, run=run, actor=push.pusher, **facts)
        self._world.inbox.settle(delivery.id, status="started", note=run)
        self._close_overtaken(delivery, application)
        log.info("delivery.started application=%s commit=%s run=%s", application.name, short(push.after), run)
        return True

    def _close_overtaken(self, delivery: Delivery, application: Application) -> None:
        """Have older runs closed that wait for an approval; what fails here, the schedule of `reconcile` makes good."""
        kinds = (GATE_OPENING, *GATE_CLOSING)
        if not open_gates(self._world.ledger.entries(kinds=kinds, application=application.name, limit=PUSHES_MAX)):
            return
        try:
            self._world.flow_runs.start(
                "reconcile/reconcile", parameters={}, idempotency_key=f"superseding:{_key(delivery)}"
            )
        except SlipwayError as exc:
            log.warning("delivery.superseding_delayed application=%s reason=%s", application.name, exc)

    def _close(self, delivery: Delivery, status: str, application: str, note: str) -> None:
        self._record(delivery, status, application, reason=note[:500])
        self._world.inbox.settle(delivery.id, status=status, note=note[:500])
        log.info("delivery.%s repository=%s reason=%s", status, delivery.repository, note[:256])

    def _record(
        self,
        delivery: Delivery,
        done: str,
        application: str,
        *,
        kind: str = "",
        run: str = "",
        actor: str = "",
        **facts: str | int | list[str],
    ) -> None:
        """Append one event about a delivery, `delivery.<done>` or another; the same delivery and kind is one entry."""
        kind = kind or f"delivery.{done}"
        self._world.ledger.append(
            Event(
                kind=kind,
                application=application,
                actor=actor or delivery.forge,
                run=run,
                key=f"{kind}:{_key(delivery)}",
                data={
                    "forge": delivery.forge,
                    "repository": delivery.repository,
                    "delivery_id": delivery.delivery_id,
                    **facts,
                },
            )
        )


def _why_nothing_starts(read: Push | Ignored, application: Application) -> str:
    if isinstance(read, Ignored):
        return read.reason
    return explain_ignored(read, repository=application.repository, branch=application.branch)


def _key(delivery: Delivery) -> str:
    return delivery_key(forge=delivery.forge, repository=delivery.repository, delivery_id=delivery.delivery_id)


def _back_off_s(failures: int) -> float:
    return min(BACK_OFF_S_MAX, 0.5 * 2 ** min(failures - 1, 10))
