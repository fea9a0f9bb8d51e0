"""No clean-up policies: what the world has until a clean-up fills the role."""

from collections.abc import Sequence

from domain.advice import CleanUp
from domain.usage import Resource


class NoCleanUps:
    """Fulfils `domain.ports_capacity.CleanUps` where nothing is ever cleaned up."""

    def would_free(self, resource: Resource) -> Sequence[CleanUp]:
        return ()
