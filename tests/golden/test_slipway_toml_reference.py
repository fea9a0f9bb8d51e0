"""The reference of `slipway.toml` names every key with its default, and nothing that does not exist."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from domain.application import ApplicationFile, parse_application

PAGE = (Path(__file__).parents[2] / "docs/reference/slipway-toml.md").read_text()
HEADINGS = {
    f"[[{name}]]" if name in ("check", "cleanup") else f"[{name}]": name for name in ApplicationFile.model_fields
}


def table_model(name: str) -> type[BaseModel]:
    found = [part for part in walk(ApplicationFile.model_fields[name].annotation)]
    return found[0]


def walk(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in walk(inner)]


def documented(heading: str) -> dict[str, str]:
    """Keys and defaults of one table of the page."""
    part = PAGE.split(f"## `{heading}`\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", part, flags=re.MULTILINE))


def plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return [plain(one) for one in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_key_is_there_with_its_default(heading: str):
    fields = table_model(HEADINGS[heading]).model_fields
    told = documented(heading)
    assert list(told) == list(fields)
    for key, field in fields.items():
        if field.is_required():
            assert told[key] == "needed"
        elif field.default is None:
            assert told[key] == "none"
        else:
            assert tomllib.loads(f"x = {told[key].strip('`')}")["x"] == plain(field.default), key


def test_no_table_is_told_that_does_not_exist():
    assert set(re.findall(r"^## `(.+)`$", PAGE, flags=re.MULTILINE)) == set(HEADINGS)


def test_the_smallest_file_of_the_page_is_valid():
    (example,) = re.findall(r"```toml\n(.+?)```", PAGE, flags=re.DOTALL)
    assert parse_application(example).application.name == "shop"
