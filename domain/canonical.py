"""One way to write a value down, so that its hash means the same everywhere.

The canonical form is JSON with sorted keys, no white space, UTF-8, no NaN and no floats with an exponent surprise:
numbers that matter are integers with their unit in the name. Used by release manifests, ledger entries and approvals.
"""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Write `value` (None, bool, int, float, str, list, dict with str keys) in its only form.

    Raises:
        ValueError: for NaN and infinity; TypeError: for anything else that JSON does not know.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_hex(value: str | bytes) -> str:
    """Hash text (as UTF-8) or bytes; 64 lower-case hexadecimal digits."""
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


def digest_of(value: Any) -> str:
    """Hash the canonical form of `value`; 64 lower-case hexadecimal digits."""
    return sha256_hex(canonical_json(value))
