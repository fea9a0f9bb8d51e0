"""Anchors in memory: the twin of `blocks/anchors_s3.py`, held to the same contract suite."""

from collections.abc import Sequence

from domain.anchor import Anchor
from domain.errors import TransientError


class MemoryAnchors:
    """Fulfils `domain.ports.Anchors` for tests; `is_away` is a server that does not answer."""

    def __init__(self) -> None:
        self.is_away = False
        self._kept: dict[str, Anchor] = {}

    def write(self, anchor: Anchor) -> None:
        self._answer()
        self._kept[anchor.name] = anchor

    def read(self) -> Sequence[Anchor]:
        self._answer()
        return [self._kept[name] for name in sorted(self._kept)]

    def _answer(self) -> None:
        if self.is_away:
            raise TransientError("S3 does not answer. Look at `slipway status`.")
