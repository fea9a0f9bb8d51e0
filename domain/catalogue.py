"""The catalogue of what users read: forms, verdicts, alerts, reports; English and Chinese.

A key names its noun first (`approval.title`), and its texts stand in `domain/texts/<noun>.py`. The language is a
setting of the installation and is handed in; nothing here knows it.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any, Literal

import domain.texts

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@cache
def all_texts() -> dict[str, tuple[str, str]]:
    """Collect every text, by key."""
    texts: dict[str, tuple[str, str]] = {}
    for module in pkgutil.iter_modules(domain.texts.__path__):
        texts.update(importlib.import_module(f"domain.texts.{module.name}").TEXTS)
    return texts


def say(key: str, *, language: Language = "en", **values: Any) -> str:
    """Render one text.

    Raises:
        KeyError: where the catalogue lacks the key or a value is missing: a test walks all of them.
    """
    return all_texts()[key][LANGUAGES.index(language)].format(**values)
