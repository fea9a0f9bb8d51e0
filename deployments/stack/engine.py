"""Which engine takes the backups of this stack: what was asked for, where it can; barman-cloud otherwise.

`auto` takes pgBackRest where its binary is present and knows the server's version, on a new installation: one that has
backups stays with the engine that made them, since another one begins a repository of its own. Called before anything
starts.
"""

from dataclasses import dataclass

from blocks.backup_barman import BarmanEngine
from blocks.backup_pgbackrest import BINARY, PgBackRestEngine, judge_binary
from blocks.embedded_backups import server_major
from blocks.installation import read_installation
from blocks.postgres_server import packaged_binaries
from deployments.stack.settings import Settings
from domain.backup import Availability

BARMAN, PGBACKREST = BarmanEngine.name, PgBackRestEngine.name


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine, and why not the other one; `problem` where what was asked for is not possible."""

    engine: str
    note: str = ""
    problem: str = ""


def choose_engine(settings: Settings) -> EngineChoice:
    """Choose the engine of this stack; nothing is changed."""
    if settings.backup_engine == BARMAN:
        return EngineChoice(BARMAN)
    found = judge_binary(BINARY, server_major(packaged_binaries()))
    return decide_engine(settings.backup_engine, _recorded(settings), found)


def decide_engine(asked: str, recorded: str, pgbackrest: Availability) -> EngineChoice:
    """Decide between the engines.

    Args:
        asked: `auto`, `barman-cloud` or `pgbackrest`.
        recorded: the engine that this installation has; empty where it is new.
    """
    reason = f"unavailable: {pgbackrest.reason}"
    if asked == PGBACKREST:
        problem = (
            f"SLIPWAY_BACKUP_ENGINE=pgbackrest is not possible: {reason}. Install a pgBackRest that knows this server "
            "(2.55 knows PostgreSQL 18), or set SLIPWAY_BACKUP_ENGINE=barman-cloud."
        )
        return EngineChoice(PGBACKREST, problem="" if pgbackrest.is_available else problem)
    if not pgbackrest.is_available:
        return EngineChoice(BARMAN, note=f"pgBackRest {reason}")
    if recorded == BARMAN:
        return EngineChoice(BARMAN, note=f"pgBackRest {pgbackrest.version} could: SLIPWAY_BACKUP_ENGINE=pgbackrest")
    return EngineChoice(PGBACKREST, note=f"version {pgbackrest.version}")


def _recorded(settings: Settings) -> str:
    if not (settings.state / "installation.json").exists():
        return ""
    return read_installation(settings.state).backup_engine
