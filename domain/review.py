"""Reviews: whether the commits of a release were looked at by somebody else, as far as anybody can say.

A forge that we may ask says which pull request a commit came by, and who approved it; that is `reviewed` or
`unreviewed`. A `Reviewed-by:` line in a commit is what its author typed: `claimed`. Everything else is `unknown`, which
is neither good nor bad. Read by `tasks/review.py`, shown on the approval form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from domain.approval import escape
from domain.catalogue import Language, say
from domain.delivery import Commit, split_person
from domain.people import names_of
from domain.pull_request import PullRequest

Standing = Literal["reviewed", "claimed", "unreviewed", "unknown"]
STANDINGS: tuple[Standing, ...] = ("reviewed", "claimed", "unreviewed", "unknown")


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """How many commits stand how, and who is named: by the forge, and by trailers."""

    counts: Mapping[Standing, int]
    reviewers: tuple[str, ...] = ()
    claimed: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        return {"counts": dict(self.counts), "reviewers": list(self.reviewers), "claimed": list(self.claimed)}


def approvers_of(pull: PullRequest) -> tuple[str, ...]:
    """Name those whose last word on the pull request, as it was merged, is a yes; whoever opened it does not count."""
    last = {opinion.reviewer: opinion for opinion in pull.opinions if opinion.reviewer and opinion.state != "other"}
    if any(opinion.state == "refused" for opinion in last.values()):
        return ()
    author = names_of([pull.author])
    return tuple(
        sorted(
            name
            for name, opinion in last.items()
            if opinion.state == "approved" and opinion.commit == pull.head and not names_of([name]) & author
        )
    )


def judge_commit(commit: Commit, pulls: Sequence[PullRequest] | None) -> tuple[Standing, tuple[str, ...]]:
    """Decide how one commit stands, and who says so.

    Args:
        pulls: merged pull requests by which it came; None where nobody can be asked.
    """
    wrote = names_of(commit.people)
    for pull in pulls or ():
        others = tuple(name for name in approvers_of(pull) if not names_of([name]) & wrote)
        if others:
            return "reviewed", others
    claimed = tuple(value for value in commit.reviewed_by if not names_of(split_person(value)) & wrote)
    if claimed:
        return "claimed", claimed
    return ("unknown", ()) if pulls is None else ("unreviewed", ())


def summarise_reviews(commits: Sequence[Commit], pulls: Mapping[str, Sequence[PullRequest] | None]) -> ReviewSummary:
    """Count how the commits of a release stand. A commit that was not asked about is unknown."""
    judged = [judge_commit(commit, pulls.get(commit.sha)) for commit in commits]
    return ReviewSummary(
        counts={standing: sum(found == standing for found, _ in judged) for standing in STANDINGS},
        reviewers=tuple(sorted({name for standing, names in judged if standing == "reviewed" for name in names})),
        claimed=tuple(sorted({name for standing, names in judged if standing == "claimed" for name in names})),
    )


def explain_reviews(summary: ReviewSummary, *, language: Language = "en") -> str:
    """Say in one line how the commits were reviewed; a plain word where all stand alike."""
    total = sum(summary.counts.values())
    parts: list[str] = []
    for standing in STANDINGS:
        count = summary.counts.get(standing, 0)
        if not count:
            continue
        names = {"reviewed": summary.reviewers, "claimed": summary.claimed}.get(standing, ())
        word = say(f"review.{standing}", language=language, names=", ".join(escape(name) for name in names[:5]))
        parts.append(word if count == total else f"{count}/{total} {word}")
    return "; ".join(parts) or say("review.unknown", language=language)
