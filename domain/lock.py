"""A lock file: which Python packages, in which version, with which hashes, and nothing else.

Read by `ci` from the commit that it builds. The text comes from outside, so it is parsed here line by line and written
anew for pip: an option, an address, a path or an editable package never gets that far.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from domain.errors import ConfigError

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_REQUIREMENT = re.compile(
    rf"(?P<name>{_NAME})(?P<extras>\[[\w.,\s-]*\])?\s*==\s*(?P<version>[A-Za-z0-9][A-Za-z0-9.+!_-]*)"
    r"\s*(?:;(?P<marker>(?:(?!--)[\w\s.'\"<>=!~(),*+-])*))?\s*$"
)
_HASH = re.compile(r"\s--hash[=\s]\s*(sha256:[0-9a-f]{64})(?=\s|$)")
# What tools write about where packages come from; here the machine's own settings (PIP_*) say that.
_IGNORED = re.compile(
    r"(-i|-f|--index-url|--extra-index-url|--trusted-host|--find-links|--only-binary|--no-binary|--prefer-binary)\b"
)


@dataclass(frozen=True, slots=True)
class Locked:
    """One package: `requirement` as pip reads it (`name[extras]==version ; marker`), and its SHA-256 hashes."""

    name: str
    requirement: str
    hashes: tuple[str, ...]

    @property
    def line(self) -> str:
        return " ".join([self.requirement, *(f"--hash={value}" for value in self.hashes)])


@dataclass(frozen=True, slots=True)
class Lock:
    """All packages of an environment, sorted; the empty lock is legal."""

    packages: tuple[Locked, ...] = ()

    @property
    def text(self) -> str:
        """The lock in its only form, as a requirements file."""
        return "".join(f"{package.line}\n" for package in self.packages)


def parse_lock(text: str, *, file: str) -> Lock:
    """Read a requirements file in which every package has a version and at least one SHA-256.

    Raises:
        ConfigError: naming the file, the line and what is allowed there.
    """
    packages: list[Locked] = []
    for number, line in _logical_lines(text):
        if not _IGNORED.match(line):
            packages.append(_parse_line(line, file=file, number=number))
    return Lock(tuple(sorted(packages, key=lambda package: package.line)))


def merge_locks(base: Lock, over: Lock) -> Lock:
    """Add the packages of `over` to `base`; where both name one, `over` wins."""
    named = {_normal(package.name) for package in over.packages}
    kept = [package for package in base.packages if _normal(package.name) not in named]
    return Lock(tuple(sorted([*kept, *over.packages], key=lambda package: package.line)))


def _parse_line(line: str, *, file: str, number: int) -> Locked:
    hashes = tuple(sorted(set(_HASH.findall(f" {line}"))))
    found = _REQUIREMENT.match(_HASH.sub("", f" {line}").strip())
    if found is None:
        raise ConfigError(
            f"{file}, line {number}: found {line[:80]!r}. Allowed is only `name==version --hash=sha256:...`; "
            "write the file with `uv pip compile --generate-hashes` or `pip-compile --generate-hashes`."
        )
    if not hashes:
        raise ConfigError(f"{file}, line {number}: {found['name']} has no --hash=sha256:... Lock it with hashes.")
    marker = f" ; {found['marker'].strip()}" if (found["marker"] or "").strip() else ""
    extras = re.sub(r"\s", "", found["extras"] or "")
    return Locked(found["name"], f"{found['name']}{extras}=={found['version']}{marker}", hashes)


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Join lines that end in a backslash; leave out comments and empty ones. Yields the number of the first line."""
    started, pending = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = re.sub(r"(^|\s)#.*$", "", line).strip()
        started = started if pending else number
        if stripped.endswith("\\"):
            pending += stripped[:-1].strip() + " "
            continue
        whole, pending = (pending + stripped).strip(), ""
        if whole:
            yield started, whole
    if pending.strip():
        yield started, pending.strip()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
