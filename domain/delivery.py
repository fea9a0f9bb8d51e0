"""What a forge delivers: a push, as read from a verified webhook body.

The adapters of the `Forge` port make these; the door stores the raw body first, whatever it says.
"""

from dataclasses import dataclass
from typing import Any

from domain.kept import restore_fact

ZERO_SHA = "0" * 40


@dataclass(frozen=True, slots=True)
class Push:
    """Commits arrived on a branch. `before` is all zeros for a new branch; `after` for a deleted one.

    `pusher` is the login that the forge authenticated; `pusher_email` may be empty; `pusher_names` are all names that
    the body gives that person.
    """

    delivery_id: str
    repository: str
    branch: str
    before: str
    after: str
    pusher: str
    pusher_email: str = ""
    pusher_names: tuple[str, ...] = ()

    @property
    def is_deletion(self) -> bool:
        return self.after.strip("0") == ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A genuine delivery that starts nothing, and why: a ping, a tag, another branch, a deletion."""

    delivery_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit between two releases, for people to read.

    `co_authors` and `reviewed_by` are the values of such trailers, `Name <address>` as a rule: what somebody typed.
    """

    sha: str
    author: str
    author_email: str
    title: str
    committer: str = ""
    committer_email: str = ""
    co_authors: tuple[str, ...] = ()
    reviewed_by: tuple[str, ...] = ()

    def __setstate__(self, state: list[Any]) -> None:
        restore_fact(self, state)

    @property
    def people(self) -> frozenset[str]:
        """Every name and address of who wrote or committed it."""
        names = {self.author, self.author_email, self.committer, self.committer_email}
        return frozenset((names | {name for value in self.co_authors for name in split_person(value)}) - {""})


def split_person(value: str) -> tuple[str, ...]:
    """Take the value of a trailer apart: `Ann Lee <ann@example.org>` is a name and an address; else it is one name."""
    name, opened, rest = value.partition("<")
    return (name.strip(), rest.partition(">")[0].strip()) if opened else (value.strip(),)


def explain_ignored(push: Push, *, repository: str, branch: str) -> str:
    """Say why a genuine push starts nothing; empty where it starts `ci`.

    Args:
        repository: `owner/name` as registered; forges know only one spelling apart from letter case.
        branch: the registered branch.
    """
    if push.repository.lower() != repository.lower():
        return f"the body is about {push.repository}, the address about {repository}"
    if push.is_deletion:
        return f"branch {push.branch} was deleted"
    if push.branch != branch:
        return f"branch {push.branch} is not the registered branch {branch}"
    return ""


def is_about(push: Push, *, repository: str, branch: str) -> bool:
    """Whether a push moved the registered branch of the registered repository, or took it away."""
    return push.repository.lower() == repository.lower() and push.branch == branch


def delivery_key(*, forge: str, repository: str, delivery_id: str) -> str:
    """Name one delivery where names must be unique: ledger keys and the orchestrator's idempotency keys."""
    return f"{forge}:{repository.lower()}:{delivery_id}"
