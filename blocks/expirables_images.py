"""Images of releases that expire: those that the ledger knows by digest, in the registry and in the engine.

Called by `cleanup`. What runs, could be rolled back to or is on its way is protected by the ledger; what a container
uses or somebody tagged, by registry and engine. An image that the ledger does not know is nobody's to remove.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from blocks.expirables_listed import remove_listed
from domain.errors import ConfigError
from domain.ports import Images
from domain.ports_cleanup import Expirable, Removed
from domain.release import Image


class ImageExpirables:
    """Fulfils `domain.ports_cleanup.Expirables`.

    Args:
        known: images and when they were last built or pinned, from the ledger.
        protect: says why one has to stay, by `repository@digest`; asked anew right before each removal.
    """

    def __init__(
        self,
        images: Callable[[], Images],
        known: Callable[[], Mapping[Image, datetime]],
        protect: Callable[[], Mapping[str, str]],
    ) -> None:
        self._images, self._known, self._protect = images, known, protect

    def read(self) -> Sequence[Expirable]:
        known = self._known()
        if not known:
            return []  # and no registry is asked where there never was one
        kept = self._protect()
        found = [
            Expirable(
                name_image(one.image),
                one.size_bytes,
                known[one.image].astimezone(UTC),
                kept.get(name_image(one.image), "") or one.used_by,
            )
            for one in self._images().stored(list(known))
        ]
        return sorted(found, key=lambda one: (one.at, one.key))

    def remove(self, keys: Sequence[str]) -> Removed:
        return remove_listed(self.read(), keys, self._remove)

    def _remove(self, key: str) -> str:
        """Remove one, unless it came into use since; says why it stays."""
        if reason := self._protect().get(key, ""):
            return reason
        repository, _, digest = key.partition("@")
        try:
            self._images().remove(Image(repository, digest))
        except ConfigError as exc:
            return str(exc)[:200]
        return ""


def name_image(image: Image) -> str:
    return f"{image.repository}@{image.digest}"
