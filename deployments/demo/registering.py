"""The helpdesk as a registered application: what `slipway app add` does, done once."""

from blocks.world import World
from deployments.commands.app import register_application, webhook_url
from domain.errors import ConfigError
from domain.ports import Application

FORGE = "gitea"
REPOSITORY = "demo/helpdesk"


def ensure_application(world: World, name: str, *, url: str) -> tuple[str, str]:
    """See that the application is registered with this repository; returns its webhook's address and secret.

    Raises:
        ConfigError: where the name belongs to another repository: the demo never takes over what is not its own.
    """
    wanted = Application(name=name, forge=FORGE, repository=REPOSITORY, url=url)
    known = next((application for application in world.applications.list() if application.name == name), None)
    if known is not None and known != wanted:
        raise ConfigError(
            f"'{name}' is registered with {known.url}, which is not the demo's. Set SLIPWAY_STATE to another folder "
            "and run the demo there."
        )
    return webhook_url(wanted), register_application(world, wanted).secret
