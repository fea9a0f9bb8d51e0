"""The operator's settings of a stack, from the environment or as they were last time."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blocks.identity import is_root
from blocks.installation import state_folder, write_private
from domain.backup_retention import Retention, read_retention
from domain.catalogue import LANGUAGES, Language
from domain.errors import ConfigError

PORT_BASE = 4200
PORT_SPAN = 500
DISK_FREE_BYTES_MIN = 2_000_000_000
RUN_RETENTION_DAYS = 30
RUNS_AT_ONCE_MAX = 8
ANCHOR_RETENTION_DAYS = 400
BACKUP_LOCK_DAYS = 7
ARCHIVE_TIMEOUT_S = 60
BACKUP_ENGINES = ("auto", "barman-cloud", "pgbackrest")
FILE = "settings.json"

BUILD_VARIABLES = (
    "PIP_*",
    "UV_*",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)
"""What builds and checks keep of our environment: how the package clients reach their registry, and nothing else."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


VARIABLES = (
    "SLIPWAY_PORT_BASE",
    "SLIPWAY_SOCKETS",
    "SLIPWAY_DISK_FREE_MIN",
    "SLIPWAY_LANGUAGE",
    "SLIPWAY_BUILD_VARIABLES",
    "SLIPWAY_RUN_RETENTION_DAYS",
    "SLIPWAY_RUNS_AT_ONCE_MAX",
    "SLIPWAY_ANCHOR_RETENTION_DAYS",
    "SLIPWAY_BACKUP_LOCK_DAYS",
    "SLIPWAY_BACKUP_COPY",
    "SLIPWAY_BACKUP_COPY_ENDPOINT",
    "SLIPWAY_BACKUP_COPY_REGION",
    "SLIPWAY_BACKUP_KEEP",
    "SLIPWAY_BACKUP_ENGINE",
    "SLIPWAY_ARCHIVE_TIMEOUT_S",
)
"""Each may be set in the environment of `slipway up`, which remembers it in `settings.json` of the state folder."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this stack should be; sizes in bytes. `given` holds the variables that were ever set, as text."""

    state: Path
    sockets: Path
    port_base: int
    disk_free_bytes_min: int
    language: Language
    build_variables: tuple[str, ...]
    run_retention_days: int
    runs_at_once_max: int
    anchor_retention_days: int
    backup_lock_days: int
    backup_copy: str
    backup_copy_endpoint: str
    backup_copy_region: str
    backup_keep: Retention
    backup_engine: str
    archive_timeout_s: int
    given: dict[str, str]

    def save(self) -> None:
        """Remember what was set, so that the next `slipway up` needs no environment."""
        write_private(self.state / FILE, json.dumps(self.given, indent=2, sort_keys=True))


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings: the environment, then what an earlier `slipway up` remembered, then the defaults.

    Raises: ConfigError naming the variable, what it holds and what is allowed.
    """
    state = state_folder().resolve()
    given = _remembered(state) | {name: environ[name].strip() for name in VARIABLES if environ.get(name, "").strip()}
    return Settings(
        state=state,
        sockets=_sockets(given.get("SLIPWAY_SOCKETS"), state),
        port_base=_number(given, "SLIPWAY_PORT_BASE", PORT_BASE, 1024, 65_535 - PORT_SPAN),
        disk_free_bytes_min=_size(given, "SLIPWAY_DISK_FREE_MIN", DISK_FREE_BYTES_MIN),
        language=_language(given),
        build_variables=_names(given, BUILD_VARIABLES),
        run_retention_days=_number(given, "SLIPWAY_RUN_RETENTION_DAYS", RUN_RETENTION_DAYS, 1, 3650),
        runs_at_once_max=_number(given, "SLIPWAY_RUNS_AT_ONCE_MAX", RUNS_AT_ONCE_MAX, 1, 200),
        anchor_retention_days=_number(given, "SLIPWAY_ANCHOR_RETENTION_DAYS", ANCHOR_RETENTION_DAYS, 1, 36_500),
        backup_lock_days=_number(given, "SLIPWAY_BACKUP_LOCK_DAYS", BACKUP_LOCK_DAYS, 1, 3650),
        backup_copy=(copy := _copy(given)),
        backup_copy_endpoint=_endpoint(given, copy),
        backup_copy_region=_region(given),
        backup_keep=_keep(given),
        backup_engine=_engine(given),
        archive_timeout_s=_number(given, "SLIPWAY_ARCHIVE_TIMEOUT_S", ARCHIVE_TIMEOUT_S, 1, 86_400),
        given=given,
    )


def _remembered(state: Path) -> dict[str, str]:
    try:
        return dict(json.loads((state / FILE).read_text()))
    except FileNotFoundError:
        return {}
    except PermissionError as exc:
        owner = (state / FILE).stat().st_uid if os.access(state, os.X_OK) else state.stat().st_uid
        raise ConfigError(
            f"{state} belongs to another user (uid {owner}). Run as that user, or set SLIPWAY_STATE to your own folder."
        ) from exc
    except ValueError as exc:
        raise ConfigError(f"{state / FILE} is not valid JSON: {exc}. Correct or remove it.") from exc


def _sockets(given: str | None, state: Path) -> Path:
    """A short folder of our own, always the same one for the same state."""
    if given:
        return Path(given).absolute()
    name = f"slipway-{hashlib.sha256(bytes(state)).hexdigest()[:8]}"
    if is_root() and os.access("/run", os.W_OK):
        return Path("/run") / name
    # Not $XDG_RUNTIME_DIR: it goes with the last log-in, and the stack stays.
    return Path("/tmp") / f"{name}-{os.geteuid()}"


def _number(environ: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise ConfigError(f"{name}={text!r} is not allowed. Use a whole number from {lowest} to {highest}.")
    return int(text)


def _size(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)([kmgt]?)b?", text.lower())
    if match is None:
        raise ConfigError(f"{name}={text!r} is not a size. Use bytes or a unit, for example 500M or 2G.")
    return int(float(match[1]) * _UNITS[match[2]])


def _copy(environ: Mapping[str, str]) -> str:
    """The second place: a folder, or a bucket of another S3 server."""
    name = "SLIPWAY_BACKUP_COPY"
    text = environ.get(name, "").strip()
    if text in ("", "none"):
        return ""
    if text.startswith("s3://"):
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?", text) or "//" in text[5:]:
            raise ConfigError(f"{name}={text!r} names no bucket. Write s3://bucket or s3://bucket/prefix.")
        return text.rstrip("/")
    if not Path(text).is_absolute():
        raise ConfigError(
            f"{name}={text!r} is neither an absolute path nor a bucket. Use a folder on another machine's disk, "
            "mounted here; s3://bucket/prefix of another S3 server; or none."
        )
    return text


def _endpoint(environ: Mapping[str, str], copy: str) -> str:
    name = "SLIPWAY_BACKUP_COPY_ENDPOINT"
    text = environ.get(name, "").strip()
    if not copy.startswith("s3://"):
        return ""
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+/?", text):
        raise ConfigError(
            f"{name}={text!r} is no S3 endpoint, which {copy} needs. Write https://host or https://host:port."
        )
    return text.rstrip("/")


def _region(environ: Mapping[str, str]) -> str:
    name, text = "SLIPWAY_BACKUP_COPY_REGION", environ.get("SLIPWAY_BACKUP_COPY_REGION", "us-east-1").strip()
    if not re.fullmatch(r"[a-z0-9-]{2,40}", text):
        raise ConfigError(f"{name}={text!r} is no region. Use its name, for example eu-central-1.")
    return text


def _keep(environ: Mapping[str, str]) -> Retention:
    name = "SLIPWAY_BACKUP_KEEP"
    try:
        return read_retention(environ.get(name, ""))
    except ValueError as exc:
        raise ConfigError(f"{name}={environ.get(name, '')!r}: {exc}") from exc


def _engine(environ: Mapping[str, str]) -> str:
    name, text = "SLIPWAY_BACKUP_ENGINE", environ.get("SLIPWAY_BACKUP_ENGINE", "auto").strip()
    if text not in BACKUP_ENGINES:
        raise ConfigError(f"{name}={text!r} is not known. Use one of: {', '.join(BACKUP_ENGINES)}.")
    return text


def _language(environ: Mapping[str, str]) -> Language:
    text = environ.get("SLIPWAY_LANGUAGE", "en")
    if text not in LANGUAGES:
        raise ConfigError(f"SLIPWAY_LANGUAGE={text!r} is not known. Use one of: {', '.join(LANGUAGES)}.")
    return text


def _names(environ: Mapping[str, str], default: tuple[str, ...]) -> tuple[str, ...]:
    text = environ.get("SLIPWAY_BUILD_VARIABLES", "")
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if wrong := [name for name in names if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\*?", name)]:
        raise ConfigError(f"SLIPWAY_BUILD_VARIABLES: {wrong[0]!r} is no variable. Use names, separated by commas.")
    return names or default
