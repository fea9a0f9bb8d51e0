"""Reads a backup's objects again while the rest is still being taken: what is whole in the store is hashed at once.

To read everything once more costs about as long as to store it; done after the backup, it would all be waiting. An
object that changes after it was hashed (an engine's notes about a backup) is hashed again at the end. Used by
`blocks/backup_recorded.py`.
"""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress

from blocks.backup_bucket import BackupBucket, Listed
from domain.backup import StoredObject
from domain.errors import SlipwayError

_LOOK_EVERY_S = 1.0


class Hashing:
    """What has been hashed of backups that are at work.

    Args:
        listed: lists the objects of every backup by its id; read here, and only new ids are hashed ahead.
    """

    def __init__(self, bucket: BackupBucket, listed: Callable[[], Mapping[str, Sequence[Listed]]]) -> None:
        self._bucket, self._listed = bucket, listed
        self._done: dict[Listed, StoredObject] = {}
        self._stop = threading.Event()

    @contextmanager
    def ahead(self) -> Generator[None]:
        """Hash what appears as long as the body runs; a store that goes away meanwhile is the body's trouble."""
        before = set(self._listed())
        reading = threading.Thread(target=self._read_on, args=(before,), daemon=True)
        reading.start()
        try:
            yield
        finally:
            self._stop.set()
            reading.join()

    def of(self, objects: Sequence[Listed]) -> tuple[StoredObject, ...]:
        """The hashes of objects: known ones where nothing changed since, read now otherwise."""
        found = [self._done.get(one) or self._bucket.hash(one.key) for one in objects]
        return tuple(one for one in found if one is not None)

    def _read_on(self, before: set[str]) -> None:
        while not self._stop.is_set():
            with suppress(SlipwayError):  # whoever takes the backup meets it, too, and says so
                self._read_new(before)
            self._stop.wait(_LOOK_EVERY_S)

    def _read_new(self, before: set[str]) -> None:
        for id, objects in self._listed().items():
            for one in objects if id not in before else []:
                if one in self._done:
                    continue
                if self._stop.is_set():
                    return
                if found := self._bucket.hash(one.key):
                    self._done[one] = found
