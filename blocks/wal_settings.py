"""PostgreSQL's settings for archiving and recovery, as every engine writes them."""

import re
from pathlib import Path

from domain.backup import Target
from domain.errors import ConfigError

ARCHIVE_SOCKET = "archive.sock"
"""The archiver's door, in the folder of PostgreSQL's own sockets."""

_PLAIN = re.compile(r"[A-Za-z0-9_./+@:=,-]+")


def archive_settings(command: str, *, timeout_s: int) -> dict[str, str]:
    """Settings of a server that hands each segment on, at the latest after `timeout_s` where something was written."""
    return {"archive_mode": "on", "archive_command": command, "archive_timeout": str(timeout_s)}


def client_command(python: Path, client: Path, socket: Path, action: str) -> str:
    """The command that PostgreSQL's shell runs for one segment; PostgreSQL puts the names in.

    Raises: ConfigError for a path that a shell or PostgreSQL would read as something else.
    """
    names = "%f" if action == "put" else "%f %p"
    return f"{plain_path(python)} -I -S {plain_path(client)} {plain_path(socket)} {action} {names}"


def plain_path(path: Path) -> Path:
    """The path, which neither a shell nor PostgreSQL reads as something else. Raises: ConfigError for any other."""
    if not _PLAIN.fullmatch(str(path)):
        raise ConfigError(f"'{path}' cannot stand in archive_command. Use a path of letters, digits and ._/+@:=,-")
    return path


def recovery_settings(target: Target) -> dict[str, str]:
    """Settings that make recovery stop at a named target, then open for writing on a timeline of its own.

    Without reaching the target the server stops with FATAL: a lost segment is never taken for the end.
    """
    settings = {
        f"recovery_target_{target.kind}": target.value,
        "recovery_target_action": "promote",
        "recovery_target_timeline": "latest",
        "archive_mode": "off",
    }
    if target.kind == "lsn":
        # the place right after what is wanted: the record that begins there is not
        settings["recovery_target_inclusive"] = "off"
    return settings
