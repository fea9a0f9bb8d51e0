"""Asking a forge whether the commits of a release were reviewed. No answer is "unknown", and stops nothing."""

from blocks.world import open_world
from domain.delivery import Commit
from domain.errors import SlipwayError
from domain.ports import Application, ForgeAccess
from domain.pull_request import PullRequest
from domain.review import explain_reviews, summarise_reviews
from tasks.approval import look_at_request
from tasks.recording import Subject, effect_task, record

ASKED_MAX = 20
"""How many questions a gate asks a forge; commits beyond that are unknown."""


@effect_task
def read_reviews(run: str, application: str, environment: str, release: str, gate: str) -> str:
    """Say how the commits between what is live and a release were reviewed, as the form shows it.

    Asked once for each gate and kept: a forge that changes its answer, or gives none, must not make what was shown and
    what is agreed to differ. Effect: one entry with the figures.
    """
    world = open_world()
    commits = look_at_request(run, application, environment, release).commits
    access = world.applications.forge_access(application)
    found, problem = _ask(world.applications.get(application), access, commits) if access else ({}, "no token")
    summary = summarise_reviews(commits, found)
    subject = Subject(run, application, environment, "", release)
    record(subject, "review.read", detail=gate, gate=gate, **summary.as_dict(), problem=problem)
    return explain_reviews(summary, language=world.language)


def _ask(
    application: Application, access: ForgeAccess, commits: tuple[Commit, ...]
) -> tuple[dict[str, list[PullRequest]], str]:
    """Ask for each commit that no pull request found before holds, newest first, until the forge fails us."""
    found: dict[str, list[PullRequest]] = {}
    questions = 0
    for commit in commits:
        if commit.sha in found:
            continue
        if questions == ASKED_MAX:
            return found, f"more than {ASKED_MAX} questions"
        questions += 1
        try:
            pulls = open_world().reviews.pull_requests(application, access, commit.sha)
        except SlipwayError as exc:
            return found, str(exc)[:256]
        found[commit.sha] = pulls
        for pull in pulls:
            for sha in pull.commits:
                found.setdefault(sha, [pull])
    return found, ""
