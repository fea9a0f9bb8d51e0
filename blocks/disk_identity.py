"""Whether two folders lie on one disk: then one failure takes both.

Partitions and logical volumes are followed to the disks below them, as far as the kernel shows. What can't be known
counts as the same disk: protection is proven, never assumed. A network's file system is another machine's disk.
"""

import os
from pathlib import Path

_BLOCKS = Path("/sys/dev/block")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.sshfs", "fuse.s3fs", "glusterfs", "9p")


def same_disk(one: Path, other: Path) -> bool:
    """Whether a single disk's failure may take both folders."""
    if one.stat().st_dev == other.stat().st_dev:
        return True
    kinds = [_kind_of(path) for path in (one, other)]
    if sum(kind in _NETWORK for kind in kinds) == 1:
        return False
    disks = [_disks_of(path) for path in (one, other)]
    return not all(disks) or bool(disks[0] & disks[1])


def _disks_of(path: Path) -> set[str]:
    """The names of the disks below a folder; empty where the kernel does not show them."""
    device = path.stat().st_dev
    node = _BLOCKS / f"{os.major(device)}:{os.minor(device)}"
    return _below(node.resolve()) if node.exists() else set()


def _below(node: Path) -> set[str]:
    slaves = list((node / "slaves").iterdir()) if (node / "slaves").is_dir() else []
    if slaves:
        return {name for slave in slaves for name in _below(slave.resolve())}
    return {node.parent.name if (node / "partition").exists() else node.name}


def _kind_of(path: Path) -> str:
    """The kind of file system that holds a folder."""
    wanted, best, kind = str(path.resolve()), "", ""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, found, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        if (wanted == place or wanted.startswith(place.rstrip("/") + "/")) and len(place) >= len(best):
            best, kind = place, found
    return kind
