"""The child in which Great Expectations lives: suites in on standard input, findings out, each one line of JSON.

Started by `blocks/expectations.py` with the interpreter of another environment; it imports nothing of ours. A suite is
a list of expectations: `type`, the `table` or `query` that it is about, `arguments`, and `severity` and `meaning` for
people.
"""

import importlib
import json
import sys
from typing import Any

MARK = "slipway-answer:"


def main() -> None:
    """Judge what standard input asks for, a question a line; the import comes first, while nobody waits for it."""
    gx: Any = importlib.import_module("great_expectations")
    for line in sys.stdin:
        answers = judge_all(gx, json.loads(line))
        sys.stdout.write(f"\n{MARK}{json.dumps(answers, default=str)}\n")
        sys.stdout.flush()


def judge_all(gx: Any, question: dict[str, Any]) -> dict[str, Any]:
    """Judge a database by its suites."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    place = question["place"]
    source = context.data_sources.add_postgres(
        name="restored",
        # a host has to stand here; where the socket is, the driver is told below
        connection_string=f"postgresql+psycopg://{place['user']}@localhost:{place['port']}/{place['database']}",
        kwargs={
            "connect_args": {
                "host": place["socket"],
                "options": "-c default_transaction_read_only=on",
                **({"password": place["password"]} if place.get("password") else {}),
            }
        },
        create_temp_table=False,
    )
    return {name: judge(gx, source, name, suite) for name, suite in question["suites"].items()}


def judge(gx: Any, source: Any, name: str, suite: list[dict[str, Any]]) -> dict[str, Any]:
    """Judge one suite; an expectation that raises has not been met, and says why."""
    if unknown := sorted({one["type"] for one in suite if not hasattr(gx.expectations, one["type"])}):
        return {"error": f"no expectation named {', '.join(unknown)}; correct the suite"}
    assets: dict[str, Any] = {}
    failed: list[str] = []
    lines: list[str] = []
    for number, one in enumerate(suite):
        about = one.get("table") or one.get("query", "")
        try:
            if about not in assets:
                assets[about] = batch_of(source, one, f"{name}-{number}")
            kind = getattr(gx.expectations, one["type"])
            result = assets[about].validate(kind(**one.get("arguments", {})))
            error = next((str(value.get("exception_message")) for value in raised(result)), "")
            met = bool(result.success) and not error
            observed = error or observe(result.result)
        except Exception as exc:  # noqa: BLE001 - whatever a suite of somebody else does is an answer about that suite
            met, observed = False, f"{type(exc).__name__}: {str(exc)[:160]}"
        words = f"{one.get('meaning') or one['type']} ({one.get('table', 'query')}): {observed[:160]}"
        lines.append(("✓ " if met else "✗ ") + words)
        failed += [] if met else [words]
    return {"count": len(suite), "failed": failed, "lines": lines}


def batch_of(source: Any, one: dict[str, Any], name: str) -> Any:
    """Open the table or the query that an expectation is about."""
    if "query" in one:
        asset = source.add_query_asset(name=name, query=one["query"])
        return asset.add_batch_definition("all").get_batch()
    schema, _, table = one["table"].rpartition(".")
    asset = source.add_table_asset(name=name, table_name=table, schema_name=schema or None)
    return asset.add_batch_definition_whole_table("all").get_batch()


def raised(result: Any) -> list[dict[str, Any]]:
    """The exceptions that an expectation met with, wherever this version of the library puts them."""
    info = result.exception_info or {}
    values = [info, *[value for value in info.values() if isinstance(value, dict)]]
    return [value for value in values if value.get("raised_exception")]


def observe(found: Any) -> str:
    """What was observed, in a few words."""
    if "observed_value" in found:
        return f"found {found['observed_value']}"
    if "unexpected_count" in found:
        return f"{found['unexpected_count']} of {found.get('element_count', '?')} unexpected"
    return "–"


if __name__ == "__main__":
    main()
