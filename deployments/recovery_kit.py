"""The recovery kit: the one file that, with the bucket or its second place, brings all back on an empty machine.

It holds every secret of the installation in clear, so it belongs on paper or on a medium in a safe, and never beside
the backups. Written by `slipway backup kit`; read by drills and restores on an empty folder.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from blocks.backup_barman import PREFIX
from blocks.backup_bucket import BUCKET
from blocks.backup_copies import DUMPS, OBJECTS
from blocks.installation import Installation
from domain.canonical import digest_of
from domain.errors import ConfigError

FORMAT = 1
READ_ME = (
    "Recovery kit of a Slipway installation. Keep it off this machine and away from the backups: it opens them.",
    "1. Install the same Slipway. The store's data folder, or the second place, must be readable from there.",
    "2. SeaweedFS reads what it encrypted with WEED_S3_SSE_KEK = secrets.s3_encryption_key, and nothing without it.",
    "3. Files of the second place end in .age: open them with the age identity secrets.backup_identity, for example",
    "   age --decrypt --identity identity.txt FILE.age, into a bucket under the same names without .age.",
    "4. Then: slipway recover THIS_FILE --state EMPTY_FOLDER --from STORE_URL (or --copy SECOND_PLACE).",
    "5. By hand: restore PostgreSQL from store.bucket with the keys s3_backup_read_*:",
    "   barman-cloud-restore --endpoint-url URL s3://BUCKET/postgres main BACKUP_ID DIRECTORY;",
    "   Where store.engine is pgbackrest: pgbackrest restore with repo1-path=/pgbackrest, repo1-s3-bucket=BUCKET,",
    "   repo1-cipher-type=aes-256-cbc and repo1-cipher-pass=secrets.backup_cipher;",
    "   put secrets into credentials.json (mode 0600) of the new state folder before the first `slipway up`.",
)


def make_kit(installation: Installation, *, system_id: str, now: datetime) -> dict[str, Any]:
    """Collect what a recovery takes; it holds secrets: never log it."""
    secrets = json.loads((installation.state / "credentials.json").read_text())
    return {
        "format": FORMAT,
        "read_me": list(READ_ME),
        "made_at": now.isoformat(timespec="seconds"),
        "installation": {"state": str(installation.state), "ports": installation.ports, "system_id": system_id},
        "store": {
            "endpoint_url": f"http://127.0.0.1:{installation.ports['s3']}",
            "bucket": BUCKET,
            "engine": installation.backup_engine,
            "server": f"{PREFIX}/main/",
            "dumps": f"{DUMPS}/",
            "objects": f"{OBJECTS}/",
            "second_place": installation.backup_copy,
            "second_place_endpoint": installation.backup_copy_endpoint,
            "second_place_region": installation.backup_copy_region,
        },
        "secrets": secrets,
    }


def digest_secrets(secrets: dict[str, str]) -> str:
    """A hash by which a drill sees whether a kit holds today's secrets; they are random, so it gives none away."""
    return digest_of(dict(secrets))


def write_kit(path: Path, kit: dict[str, Any]) -> None:
    """Write the kit into a new file that only its owner reads. Raises: ConfigError where something is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError as exc:
        raise ConfigError(f"{path} is there already. Name a new file; a kit is never written over.") from exc
    except OSError as exc:
        raise ConfigError(f"{path} can't be written: {exc.strerror}. Name a file in a folder of yours.") from exc
    with os.fdopen(descriptor, "w") as file:
        json.dump(kit, file, indent=2)
        file.write("\n")
        os.fsync(file.fileno())


def read_kit(path: Path) -> dict[str, Any]:
    """Read a kit. Raises: ConfigError for what is none."""
    try:
        kit = json.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} is no recovery kit: {exc}. Use the file that `slipway backup kit` wrote.") from exc
    if not isinstance(kit, dict) or kit.get("format") != FORMAT or "secrets" not in kit:  # pyright: ignore[reportUnknownMemberType]
        raise ConfigError(
            f"{path} is no recovery kit of format {FORMAT}. Use the file that `slipway backup kit` wrote."
        )
    return kit  # pyright: ignore[reportUnknownVariableType]
