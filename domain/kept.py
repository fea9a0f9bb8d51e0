"""Facts that were kept by an earlier version: what they did not have yet takes its default.

Answers of persisted tasks outlive an upgrade while a gate waits. A fact that grows names this as its `__setstate__`;
new fields go to the end.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any


def restore_fact(fact: Any, state: Sequence[Any]) -> None:
    """Fill a frozen dataclass with slots from its values, in the order of its fields; the last ones may be missing."""
    for index, field in enumerate(fields(fact)):
        if index < len(state):
            value = state[index]
        else:
            value = field.default if field.default_factory is MISSING else field.default_factory()
        object.__setattr__(fact, field.name, value)
