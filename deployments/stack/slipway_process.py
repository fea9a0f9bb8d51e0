# pyright: reportPrivateUsage=false
"""The process of one flow run: Prefect's engine, with results read from this machine's folder and nowhere else.

Started by the locked worker (`slipway_worker.py`) in the copy of the code that the run began with; the entrypoint comes
in `PREFECT__FLOW_ENTRYPOINT`, so the engine asks the server for no code. What is left is results: a state, which
anybody with Prefect's password can set, may name a file, a storage block and a serializer, and reading such a result is
running whatever was pickled there. Prefect has no setting against that, so three of its functions are replaced here.
Only Prefect and the standard library: our rooms are imported from the run's own copy.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import results
from prefect._internal.result_records import ResultRecordMetadata
from prefect.filesystems import LocalFileSystem
from prefect.serializers import PickleSerializer
from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH


class ForeignResultError(Exception):
    """A result that is not in this machine's own folder, or not as we write them."""


def keep_results_here() -> None:
    """Make this process read results from the local storage folder only, as it writes them itself."""
    results._read_server_default_result_storage_block_id = _no_default
    results._aread_server_default_result_storage_block_id = _no_default_async
    resolve, aresolve = results.resolve_result_storage, results.aresolve_result_storage

    def resolve_here(result_storage: Any, **words: Any) -> Any:
        _refuse_reference(result_storage)
        return resolve(result_storage, **words)

    async def aresolve_here(result_storage: Any) -> Any:
        _refuse_reference(result_storage)
        return await aresolve(result_storage)

    async def from_metadata(metadata: ResultRecordMetadata) -> Any:
        return await read_here(metadata)

    results.resolve_result_storage = resolve_here  # pyright: ignore[reportAttributeAccessIssue]
    results.aresolve_result_storage = aresolve_here
    results.ResultStore._from_metadata = staticmethod(from_metadata)  # pyright: ignore[reportAttributeAccessIssue]


async def read_here(metadata: ResultRecordMetadata) -> Any:
    """Read the record that a state names. Raises: ForeignResultError where it is not ours."""
    folder = Path(str(PREFECT_RESULTS_LOCAL_STORAGE_PATH.value())).expanduser().resolve()
    key = metadata.storage_key
    if metadata.storage_block_id is not None or not key or not (folder / key).resolve().is_relative_to(folder):
        raise ForeignResultError(f"A state names a result outside of {folder}: it was not set by us. Nothing was read.")
    store = results.ResultStore(result_storage=LocalFileSystem(basepath=str(folder)), serializer=PickleSerializer())
    return await store.aread(key)


def _refuse_reference(storage: Any) -> None:
    """Raises: ForeignResultError for a storage that is a block on the server, by id or by name."""
    if isinstance(storage, UUID | str):
        raise ForeignResultError(
            f"Result storage {str(storage)[:100]!r} is on the server. Results stay on this machine."
        )


def _no_default() -> None:
    return None


async def _no_default_async() -> None:
    return None


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    keep_results_here()
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
