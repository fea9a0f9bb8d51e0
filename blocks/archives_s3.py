"""Archives of rows in a bucket of their own, `archives`, with keys of their own that can't remove anything's history.

Opened from the installation's files, never from a Prefect block, which others could edit. Bytes are checked on both
ways, as everything that `S3ObjectStore` moves; what is under a key stays what it was.
"""

import tempfile
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks import parquet_files
from blocks.backup_keys import lock_away, make_identity, open_again, read_identity, read_recipient, recipient_of
from blocks.bucket import Account
from blocks.bundle import sha256_of
from blocks.installation import Installation, read_secret
from blocks.seal import SEAL_SECRET, read_seal
from domain.archive import AGE
from domain.errors import TransientError
from domain.ports_cleanup import CopiedTable, Locked

if TYPE_CHECKING:
    from blocks.store_s3 import S3ObjectStore

BUCKET = "archives"


class S3Archives:
    """Fulfils `domain.ports_cleanup.Archives`.

    Files are encrypted with age for the recipient of the installation's copies (`blocks/backup_keys.py`): what writes
    them can't open them again, once the process that made them is gone; restoring and drills can.

    Args:
        python: finds, or makes, a Python with pyarrow.
    """

    def __init__(self, installation: Installation, python: Callable[[], Path], *, bucket: str = BUCKET) -> None:
        self._installation = installation
        self._python = python
        self._bucket = bucket

    def pack(self, table: CopiedTable, to: Path) -> int:
        return parquet_files.pack(
            self._python, table.file, to, columns=table.columns, about={"table": table.table, "keys": table.keys}
        )

    def unpack(self, file: Path, to: Path) -> int:
        return parquet_files.unpack(self._python, file, to)

    def lock(self, file: Path, to: Path) -> Locked:
        once = make_identity()
        lock_away(file, to, read_recipient(self._installation.state), recipient_of(once))
        return Locked(to, AGE, partial(open_again, identity=once))

    def open(self, file: Path, to: Path) -> None:
        open_again(file, to, read_identity(self._installation.state))

    def seal(self, content: bytes) -> bytes:
        return read_seal(SEAL_SECRET, state=self._installation.state).close(content.decode())

    def unseal(self, content: bytes) -> bytes:
        return read_seal(SEAL_SECRET, state=self._installation.state).open(content).encode()

    def put(self, key: str, path: Path, *, sha256: str) -> None:
        self._store.put(key, path, sha256=sha256)

    def get(self, key: str, path: Path, *, sha256: str) -> None:
        self._store.get(key, path, sha256=sha256)

    def keep(self, key: str, content: bytes) -> None:
        if self._store.exists(key):
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "content"
            path.write_bytes(content)
            self._store.put(key, path, sha256=sha256_of(path))

    def read(self, key: str) -> bytes | None:
        from botocore.exceptions import BotoCoreError, ClientError

        if not self._store.exists(key):
            return None
        try:
            content: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except (BotoCoreError, ClientError) as exc:
            raise TransientError(f"S3 did not read {key}: {str(exc)[:256]}. Look at `slipway status`.") from exc
        return content

    @cached_property
    def _store(self) -> "S3ObjectStore":
        from blocks.store_s3 import (
            S3ObjectStore,
        )  # a Prefect block: `slipway up` takes this bucket's name before Prefect

        return S3ObjectStore(
            bucket=self._bucket,
            state=str(self._installation.state),
            access_key_secret="s3_archive_access_key",
            secret_key_secret="s3_archive_secret_key",
        )

    @cached_property
    def _client(self) -> Any:
        state = self._installation.state
        return Account(
            f"http://127.0.0.1:{self._installation.ports['s3']}",
            read_secret("s3_archive_access_key", state=state),
            read_secret("s3_archive_secret_key", state=state),
        ).client()
