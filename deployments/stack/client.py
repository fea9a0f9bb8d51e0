"""Which Prefect server the processes of an operator talk to: this installation's, and no other.

Sets the environment before Prefect is imported, since Prefect reads its settings once; so nothing of the operator's own
Prefect profile leaks in.
"""

import os
from contextlib import suppress

from blocks.installation import Installation, read_installation, read_secret
from domain.errors import ConfigError


def client_environment(installation: Installation, *, auth: str) -> dict[str, str]:
    """The variables by which Prefect's client finds our server and its own folder."""
    return {
        "SLIPWAY_STATE": str(installation.state),
        "PREFECT_HOME": str(installation.state / "prefect"),
        "PREFECT_API_URL": installation.prefect_api_url,
        "PREFECT_API_AUTH_STRING": auth,
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(installation.state / "prefect" / "storage"),
        "DO_NOT_TRACK": "1",
    }


def use_prefect(installation: Installation, *, auth: str) -> None:
    """Point this process's Prefect at the installation's server."""
    os.environ.update(client_environment(installation, auth=auth))
    os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")


def use_prefect_if_installed() -> None:
    """Do so where there is an installation that this user may read: not before the first `slipway up`."""
    with suppress(ConfigError):
        use_prefect(read_installation(), auth=read_secret("prefect_auth"))
