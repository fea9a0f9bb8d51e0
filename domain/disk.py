"""Room on the disk: how much a step needs, and how a refusal says it."""

from domain.errors import RefusedError

INSTALLED_FACTOR = 4
"""A bundle, what it unpacks to, its environment and what Python compiles: at most so many times the bundle."""


def refuse_full(*, free_bytes: int, free_bytes_min: int, needed_bytes: int, what: str) -> None:
    """Refuse a step that would leave less than the limit.

    Raises: RefusedError with the figures and the setting.
    """
    wanted = free_bytes_min + needed_bytes
    if free_bytes < wanted:
        raise RefusedError(
            f"{free_bytes / 10**9:.2f} GB free on the disk of the state folder; {what} needs {wanted / 10**9:.2f} GB. "
            "Free some space, or lower SLIPWAY_DISK_FREE_MIN (for example 500M) and run `slipway up`."
        )
