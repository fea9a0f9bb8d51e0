"""Which version an installation has: written down by `up`, compared by whoever comes with other code."""

import importlib.metadata
import json
from pathlib import Path

from blocks.installation import write_private

FILE = "version.json"


def own_prefect() -> str:
    """The version of Prefect that this Python has."""
    return importlib.metadata.version("prefect")


def record_version(state: Path, *, code: str) -> None:
    """Write down what runs. Effect: one file, readable."""
    write_private(state / FILE, json.dumps({"code": code, "prefect": own_prefect()}), mode=0o644)


def read_version(state: Path) -> dict[str, str]:
    """What was written down; empty for an installation from before."""
    try:
        return dict(json.loads((state / FILE).read_text()))
    except FileNotFoundError:
        return {}


def find_prefect_obstacle(recorded: str, own: str, *, upgrading: bool) -> str:
    """Say why this code's Prefect must not touch the installation's database; empty where it may.

    Prefect changes its database when a newer server starts, and an older one can't read it any more.
    """
    if not recorded or recorded == own:
        return ""
    if _number(recorded) > _number(own):
        return (
            f"The installation has Prefect {recorded}, and this Python has {own}: that is a way back, which Prefect's "
            "database does not go. Run the newer code, or go back with `slipway upgrade --back` there."
        )
    return "" if upgrading else f"The installation has Prefect {recorded}, this Python {own}. Run `slipway upgrade`."


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
