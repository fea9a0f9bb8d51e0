"""Removes things one by one, as a listing of this moment has them: what adapters of expirables do alike."""

from collections.abc import Callable, Sequence

from domain.ports_cleanup import Expirable, Removed


def remove_listed(listed: Sequence[Expirable], keys: Sequence[str], remove: Callable[[str], str]) -> Removed:
    """Remove those of `keys` that are listed and not protected; the others stay, with the reason.

    Args:
        listed: read right now. What is not in it is gone, or was never ours to remove.
        remove: removes one; returns why it stays, empty where it is gone.
    """
    known = {one.key: one for one in listed}
    count = size_bytes = 0
    failed: list[tuple[str, str]] = []
    for one in (known[key] for key in keys if key in known):
        if reason := one.protected or remove(one.key):
            failed.append((one.key, reason))
        else:
            count, size_bytes = count + 1, size_bytes + one.size_bytes
    return Removed(count, size_bytes, tuple(failed))
