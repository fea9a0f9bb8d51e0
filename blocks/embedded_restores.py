"""What restores need of an installation: its server, its applications' roles, a private folder."""

from collections.abc import Callable
from functools import partial

from blocks.embedded_backups import superuser_url
from blocks.installation import Installation
from blocks.restorations_postgres import PostgresRestorations
from domain.ports import Databases


def open_restorations(installation: Installation, databases: Callable[[], Databases]) -> PostgresRestorations:
    """Open the server's databases for restores; what was extracted rests in `work/restores` of the state."""
    folder = installation.folder("work") / "restores"
    folder.mkdir(mode=0o700, exist_ok=True)
    return PostgresRestorations(
        url=partial(superuser_url, installation),
        role_url=lambda application, environment: databases().url(application, environment),
        binaries=installation.postgres_bin,
        folder=folder,
    )
