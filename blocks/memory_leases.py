"""Leases in memory: the twin of `blocks/leases_postgres.py`."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from domain.errors import TransientError
from domain.ports import Lease


class MemoryLeases:
    """Fulfils `domain.ports.Leases` for tests."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._leases: dict[str, Lease] = {}

    def acquire(self, name: str, *, owner: str, ttl_s: float) -> Lease:
        holder = next((lease for lease in self.held() if lease.name == name), None)
        if holder is not None and holder.owner != owner:
            until = f"{holder.expires_at:%Y-%m-%d %H:%M:%S} UTC"
            raise TransientError(f"The lease '{name}' is held by {holder.owner} until {until}. Wait for it.")
        self._leases[name] = Lease(name=name, owner=owner, expires_at=self._clock() + timedelta(seconds=ttl_s))
        return self._leases[name]

    def release(self, name: str, *, owner: str) -> None:
        if name in self._leases and self._leases[name].owner == owner:
            del self._leases[name]

    def held(self) -> list[Lease]:
        return [lease for _, lease in sorted(self._leases.items()) if lease.expires_at > self._clock()]
