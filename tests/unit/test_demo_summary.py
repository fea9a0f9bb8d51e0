"""The demo's summary is documented to the last key, and written whole."""

import json
import re
from dataclasses import fields
from pathlib import Path

from deployments.demo.summary import Summary

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "demo-summary.md"


def test_every_key_is_documented_and_nothing_else():
    rows = re.findall(r"^\| (`.*?) \|", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == {field.name for field in fields(Summary)}


def test_figures_are_rounded_and_what_was_not_reached_is_null(tmp_path: Path):
    summary = Summary(verdict_s=6.123456, claims={"nobody_else_was_failed": True})
    summary.write(tmp_path / "demo" / "summary.json")
    value = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert (value["verdict_s"], value["rollback_s"], value["passed"]) == (6.12, None, False)
