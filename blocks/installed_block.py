"""The base of blocks that take most of their facts from the installation, so that a document of theirs holds little."""

from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field

from blocks.installation import Installation, read_installation


class InstalledBlock(Block):
    """A block on top of this machine's installation."""

    state: str = Field(default="", description="State folder of the installation; empty: the one of the process.")

    @property
    def installation(self) -> Installation:
        return read_installation(Path(self.state)) if self.state else read_installation()
