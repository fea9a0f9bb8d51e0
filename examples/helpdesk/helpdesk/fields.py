"""What people may type: every value that enters the desk passes through here."""

import re
from collections.abc import Collection, Mapping

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class FieldError(Exception):
    """A value that we can't take; `field` says which, the text says why."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def read_text(values: Mapping[str, object], field: str, *, length_max: int, default: str | None = None) -> str:
    """Take a text, trimmed, of 1 to `length_max` characters; `default` where it is absent or empty."""
    value = values.get(field)
    if value is None or value == "":
        if default is not None:
            return default
        raise FieldError(field, "is required")
    if not isinstance(value, str):
        raise FieldError(field, "must be a text")
    text = value.replace("\r\n", "\n").strip()
    if not text:
        raise FieldError(field, "must not be empty")
    if "\x00" in text:
        raise FieldError(field, "must not contain NUL")
    if len(text) > length_max:
        raise FieldError(field, f"has {len(text)} characters; at most {length_max} are allowed")
    return text


def read_email(values: Mapping[str, object], field: str) -> str:
    """Take an e-mail address, in lower case."""
    text = read_text(values, field, length_max=254).lower()
    if not _EMAIL.fullmatch(text):
        raise FieldError(field, f"'{text[:60]}' is not an e-mail address")
    return text


def read_choice(
    values: Mapping[str, object], field: str, allowed: Collection[str], *, default: str | None = None
) -> str:
    """Take one of a few words."""
    text = read_text(values, field, length_max=40, default=default)
    if text not in allowed:
        raise FieldError(field, f"'{text}' is not one of: {', '.join(allowed)}")
    return text


def read_page(values: Mapping[str, object]) -> int:
    """Take the number of a page, from 1."""
    text = read_text(values, "page", length_max=6, default="1")
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise FieldError("page", f"'{text}' is not a page number; they start at 1")
    return int(text)


def make_slug(title: str) -> str:
    """Make the address of an article from its title: `How do I pay?` becomes `how-do-i-pay`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:80] or "article"
