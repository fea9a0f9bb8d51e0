"""The second place of backups: a mounted folder or a bucket of another S3 server, with an index of what lies there.

Only locked files arrive here (`blocks/backup_copies.py` locks them with age before). The index says, in clear, which
object of the bucket each file is of, its size and both hashes, and which whole backups lie here; no secret. A place is
judged honestly: what fails together with this machine's disk is no second place.
"""

import ipaddress
import json
import os
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import psutil

from blocks.backup_bucket import BackupBucket
from blocks.disk_identity import same_disk
from blocks.installation import write_private
from domain.backup import CopyPlace
from domain.canonical import canonical_json
from domain.errors import ConfigError

INDEX = "slipway-copies.json"
SUFFIX = ".age"


def locked_name(key: str) -> str:
    """The name under which an object lies at the second place."""
    return key if key.endswith(SUFFIX) else f"{key}{SUFFIX}"


class Place(Protocol):
    """Where locked files and their index are kept."""

    def require(self) -> None:
        """Raises: ConfigError where the place is not there: it is never made on the way."""
        ...

    def describe(self) -> CopyPlace: ...

    def names(self) -> Collection[str]:
        """Every file that lies there."""
        ...

    def put(self, name: str, file: Path) -> None:
        """Keep a file whole, or not at all; an earlier one of that name gives way."""
        ...

    def read_index(self) -> dict[str, Any]:
        """The index; empty where there is none."""
        ...

    def write_index(self, index: dict[str, Any]) -> None: ...

    def remove(self, names: Sequence[str]) -> None: ...


class FolderPlace:
    """A folder on another machine's disk, mounted here. It must exist: one that is not mounted must not be filled.

    Args:
        beside: a folder on the disk that the copies protect from.
    """

    def __init__(self, folder: Path, *, beside: Path) -> None:
        self._folder, self._beside = folder, beside

    def require(self) -> None:
        if not self._folder.is_dir():
            raise ConfigError(f"SLIPWAY_BACKUP_COPY names {self._folder}, which is not there. Mount it, or correct it.")

    def describe(self) -> CopyPlace:
        where = str(self._folder)
        if not self._folder.is_dir():
            return CopyPlace(where, False, "the folder is not there: is it mounted?")
        if same_disk(self._folder, self._beside):
            return CopyPlace(where, False, "the folder lies on the disk that it is to protect from")
        return CopyPlace(where, True)

    def names(self) -> Collection[str]:
        return {str(path.relative_to(self._folder)) for path in self._folder.rglob(f"*{SUFFIX}") if path.is_file()}

    def put(self, name: str, file: Path) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with file.open("rb") as source, draft.open("wb") as target:
                while piece := source.read(1 << 20):
                    target.write(piece)
                target.flush()
                os.fsync(target.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def read_index(self) -> dict[str, Any]:
        try:
            return _as_index(json.loads((self._folder / INDEX).read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def write_index(self, index: dict[str, Any]) -> None:
        write_private(self._folder / INDEX, canonical_json(index))

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            path = self._folder / name
            path.unlink(missing_ok=True)
            parent = path.parent
            while parent != self._folder and not any(parent.iterdir()):
                parent.rmdir()
                parent = parent.parent


class BucketPlace:
    """A bucket of another S3 server, with keys of its own: one pair adds, another may also remove.

    Args:
        prefix: where in the bucket, with its slash; empty: at its top.
        expirer: with the keys that may remove; None: nothing is ever removed there.
    """

    def __init__(self, bucket: BackupBucket, prefix: str, *, expirer: BackupBucket | None) -> None:
        self._bucket, self._prefix, self._expirer = bucket, prefix, expirer

    def require(self) -> None:
        self._bucket.require()

    def describe(self) -> CopyPlace:
        endpoint = self._bucket.account.endpoint_url
        where = f"s3://{self._bucket.bucket}/{self._prefix} at {endpoint}"
        reason = why_here(urlsplit(endpoint).hostname or "")
        return CopyPlace(where, not reason, reason)

    def names(self) -> Collection[str]:
        return {one.key.removeprefix(self._prefix) for one in self._bucket.objects(self._prefix)}

    def put(self, name: str, file: Path) -> None:
        self._bucket.put_file(f"{self._prefix}{name}", file)

    def read_index(self) -> dict[str, Any]:
        return _as_index(self._bucket.get_json(f"{self._prefix}{INDEX}"))

    def write_index(self, index: dict[str, Any]) -> None:
        self._bucket.put(f"{self._prefix}{INDEX}", canonical_json(index).encode())

    def remove(self, names: Sequence[str]) -> None:
        if self._expirer is None:
            raise ConfigError(
                "There are no keys that may remove at the second place. Set SLIPWAY_BACKUP_COPY_EXPIRE_ACCESS_KEY and "
                "SLIPWAY_BACKUP_COPY_EXPIRE_SECRET_KEY, then run `slipway up`."
            )
        self._expirer.remove([f"{self._prefix}{name}" for name in names])
        self._expirer.purge(self._prefix)


def why_here(host: str) -> str:
    """Why a host counts as this machine, which fails as a whole; empty where it is another one.

    A container of this machine is this machine, too: its address lies in the network of a bridge here.
    """
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as exc:
        return f"'{host}' can't be found ({exc.strerror or 'no such name'}), so nothing is known of where it fails"
    addresses = [ipaddress.ip_address(str(one).partition("%")[0]) for one in found]
    if any(one.is_loopback or one.is_unspecified for one in addresses):
        return "the endpoint is this machine itself"
    for name, own in psutil.net_if_addrs().items():
        for one in own:
            if one.family not in (socket.AF_INET, socket.AF_INET6) or not one.netmask:
                continue
            mine = ipaddress.ip_interface(f"{one.address.partition('%')[0]}/{_length(one.netmask)}")
            if mine.ip in addresses:
                return "the endpoint is this machine itself"
            if Path(f"/sys/class/net/{name}/bridge").exists() and any(each in mine.network for each in addresses):
                return f"the endpoint is a container of this machine (bridge {name})"
    return ""


def _length(netmask: str) -> int:
    """The length of a network mask, as IPv4 and IPv6 write it."""
    return int(ipaddress.ip_address(netmask.partition("/")[0])).bit_count()


def _as_index(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) and "objects" in value else {}
