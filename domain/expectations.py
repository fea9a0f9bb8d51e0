"""The suites of expectations that an application keeps beside its code: what its data must always be like.

JSON files that `[data]` of `slipway.toml` names, judged by Great Expectations on every restored copy. Read by
`restore_drill` from the release that is live.
"""

import json
from typing import Any, cast

from domain.errors import ConfigError

_KEYS = {"type", "table", "query", "arguments", "meaning"}
EXPECTATIONS_MAX = 500


def read_suite(text: str, *, file: str) -> list[dict[str, Any]]:
    """Read a suite: a list of objects, each with `type`, `table` or `query`, and `arguments`.

    Raises: ConfigError that names the file, the place and what is wrong there.
    """
    try:
        value: Any = json.loads(text)
    except ValueError as exc:
        raise ConfigError(f"{file} is no JSON: {str(exc)[:120]}. Correct it.") from exc
    if not isinstance(value, list) or len(cast(list[Any], value)) > EXPECTATIONS_MAX:
        raise ConfigError(f"{file} is no list of at most {EXPECTATIONS_MAX} expectations. Write [{{...}}, ...].")
    suite = cast(list[Any], value)
    for number, one in enumerate(suite, start=1):
        if problem := _problem(one):
            raise ConfigError(f"{file}, expectation {number}: {problem}. Correct it (docs/reference/expectations.md).")
    return cast(list[dict[str, Any]], suite)


def _problem(one: Any) -> str:
    if not isinstance(one, dict):
        return "it is no object"
    known = cast(dict[str, Any], one)
    if unknown := sorted(set(known) - _KEYS):
        return f"unknown key '{unknown[0]}' (allowed: {', '.join(sorted(_KEYS))})"
    if not isinstance(known.get("type"), str) or not known["type"].startswith(("Expect", "Unexpected")):
        return "'type' must name an expectation, such as ExpectColumnValuesToNotBeNull"
    if isinstance(known.get("table"), str) == isinstance(known.get("query"), str):
        return "name either a 'table' or a 'query'"
    return "" if isinstance(known.get("arguments", {}), dict) else "'arguments' must be an object"
