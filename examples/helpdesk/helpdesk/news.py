"""The news on the front page: the first entry of `NEWS.md`."""

from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "NEWS.md"


@dataclass(frozen=True, slots=True)
class News:
    title: str
    text: str


def read_news(markdown: str) -> News | None:
    """Take the first `## ` section; None where there is none."""
    _, found, rest = f"\n{markdown}".partition("\n## ")
    if not found:
        return None
    title, _, text = rest.partition("\n")
    return News(title.strip(), text.partition("\n## ")[0].strip())
