"""The ways in which Slipway gives no answer.

Results (a red check, a failed canary, a rejected approval) are values, never exceptions. What is raised here means
*no answer* or *not allowed*; `tasks/` retries only `TransientError`.
"""


class SlipwayError(Exception):
    """The root of what Slipway raises on purpose; its text says what happened and what to do next."""


class TransientError(SlipwayError):
    """The world is not ready; asking again later, a bounded number of times, is right."""


class OutcomeUnknownError(SlipwayError):
    """A change was sent and the answer lost; read the world before doing anything else."""


class RefusedError(SlipwayError):
    """Policy says no: a freeze, a missing approval, a blocked digest, drift since the approval."""


class ConfigError(SlipwayError):
    """A setting, a parameter or a file is wrong; the text names file, key and allowed values."""


class InvariantError(SlipwayError):
    """A promise of our own is broken; somebody should be told now."""
