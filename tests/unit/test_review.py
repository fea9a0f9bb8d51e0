"""Reviewed, claimed, not reviewed, or unknown: what the approval form may say of commits."""

from collections.abc import Generator

import pytest
from typer.testing import CliRunner

from blocks.memory_sources import MemoryCommit, MemoryRepository
from blocks.memory_world import MemoryWorld
from blocks.world import use_world
from deployments.commands.app import api_url, app
from domain.catalogue import LANGUAGES, Language
from domain.delivery import Commit
from domain.errors import ConfigError
from domain.ledger import Event
from domain.ports import Application, ForgeAccess
from domain.pull_request import Opinion, PullRequest, State
from domain.release import Bundle, Manifest
from domain.review import approvers_of, explain_reviews, judge_commit, summarise_reviews
from tasks.review import ASKED_MAX, read_reviews

A, B, C = "a" * 40, "b" * 40, "c" * 40
COMMIT = Commit(A, "Bob", "bob@example.org", "x")


def pull(*opinions: tuple[str, State, str], author: str = "bob", head: str = A) -> PullRequest:
    return PullRequest(1, author, head, (head,), tuple(Opinion(*one) for one in opinions))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (pull(("ann", "approved", A)), ("ann",)),
        (pull(), ()),
        (pull(("bob", "approved", A)), ()),
        (pull(("BOB", "approved", A)), ()),
        (pull(("ann", "approved", B)), ()),
        (pull(("ann", "approved", A), ("ann", "refused", A)), ()),
        (pull(("ann", "refused", B), ("ann", "approved", A)), ("ann",)),
        (pull(("ann", "approved", A), ("ann", "withdrawn", A)), ()),
        (pull(("ann", "approved", A), ("ann", "other", A)), ("ann",)),
        (pull(("ann", "approved", A), ("eve", "refused", A)), ()),
        (pull(("", "approved", A)), ()),
    ],
)
def test_only_the_last_word_of_others_on_what_was_merged_counts(given: PullRequest, names: tuple[str, ...]):
    assert approvers_of(given) == names


def trailer(value: str) -> Commit:
    return Commit(A, "Bob", "bob@example.org", "x", reviewed_by=(value,))


@pytest.mark.parametrize(
    ("commit", "pulls", "standing"),
    [
        (COMMIT, [pull(("ann", "approved", A))], "reviewed"),
        (COMMIT, [pull(("ann", "approved", A), author="eve")], "reviewed"),
        (COMMIT, [pull(("bob", "approved", A), author="eve")], "unreviewed"),
        (COMMIT, [], "unreviewed"),
        (COMMIT, None, "unknown"),
        (trailer("Ann <ann@example.org>"), None, "claimed"),
        (trailer("Ann <ann@example.org>"), [], "claimed"),
        (trailer("Bob <x@example.org>"), None, "unknown"),
        (trailer("Ann <bob@example.org>"), [], "unreviewed"),
        (trailer("Ann"), [pull(("ann", "approved", A))], "reviewed"),
    ],
)
def test_a_trailer_is_a_claim_and_no_answer_is_unknown(commit: Commit, pulls: list[PullRequest] | None, standing: str):
    assert judge_commit(commit, pulls)[0] == standing


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_form_says_it_in_one_safe_line(language: Language):
    other = Commit(B, "Eve", "e@x", "y", reviewed_by=("Mal | [x](http://y) <m@x>",))
    said = explain_reviews(
        summarise_reviews([COMMIT, other, Commit(C, "Z", "z", "z")], {A: [pull(("ann", "approved", A))]}),
        language=language,
    )
    assert "1/3" in said and "ann" in said and "\n" not in said and "](" not in said.replace("\\]", "")
    assert explain_reviews(summarise_reviews([], {}), language=language)
    assert explain_reviews(summarise_reviews([COMMIT], {}), language=language) in ("unknown", "未知")


@pytest.fixture
def world() -> Generator[MemoryWorld]:
    """`A` is to be released; nothing is live."""
    world = MemoryWorld()
    world.applications.add(Application("desk", "github", "team/desk", "https://x/y"), webhook_secret="s")
    manifest = Manifest("desk", A, Bundle("a" * 64, 10))
    file = '[application]\nname = "desk"\n[[check]]\nname = "u"\ncommand = ["x"]\n[service]\ncommand = ["x"]\n'
    for site in world.sites.values():
        site.target.add(manifest, {"slipway.toml": file})
    data = {"manifest": manifest.as_dict(), "requester": "bob"}
    world.ledger.append(Event("release.pinned", application="desk", release=manifest.digest, data=data))
    use_world(lambda: world)
    yield world
    use_world(None)


def give_commits(world: MemoryWorld, count: int) -> str:
    shas = [A, *(f"{number:040d}" for number in range(count - 1))]
    commits = {
        sha: MemoryCommit(Commit(sha, "Bob", "b@x", "t"), {}, parent)
        for sha, parent in zip(shas, [*shas[1:], None], strict=True)
    }
    world.sources.repositories["https://x/y"] = MemoryRepository(commits, {"main": A})
    world.sources.fetch("desk", "https://x/y")
    return world.ledger.entries(kinds=["release.pinned"])[0].event.release


def ask(world: MemoryWorld, release: str) -> str:
    return read_reviews.fn("run-1", "desk", "production", release, "g")


def test_without_a_token_nobody_is_asked_and_it_is_unknown(world: MemoryWorld):
    assert ask(world, give_commits(world, 3)) == "unknown" and world.reviews.asked == 0


def test_the_commits_of_a_pull_request_are_asked_about_once(world: MemoryWorld):
    release = give_commits(world, 3)
    world.applications.set_forge_access("desk", ForgeAccess("https://forge", "a-token"))
    shas = (A, f"{0:040d}", f"{1:040d}")
    world.reviews.pulls[A] = [PullRequest(1, "bob", "h" * 40, shas, (Opinion("ann", "approved", "h" * 40),))]
    assert ask(world, release) == "reviewed (by ann, says the forge)" and world.reviews.asked == 1
    (entry,) = world.ledger.entries(kinds=["review.read"])
    assert entry.data["counts"] == {"reviewed": 3, "claimed": 0, "unreviewed": 0, "unknown": 0}


def test_a_forge_that_fails_is_recorded_and_stops_nothing(world: MemoryWorld):
    release = give_commits(world, 2)
    world.applications.set_forge_access("desk", ForgeAccess("https://forge", "wrong"))
    assert ask(world, release) == "unknown"
    assert "refuses the token" in world.ledger.entries(kinds=["review.read"])[0].data["problem"]


def test_a_long_range_asks_a_bounded_number_of_questions_and_the_rest_is_unknown(world: MemoryWorld):
    release = give_commits(world, ASKED_MAX + 5)
    world.applications.set_forge_access("desk", ForgeAccess("https://forge", "a-token"))
    said = ask(world, release)
    assert world.reviews.asked == ASKED_MAX
    assert f"{ASKED_MAX}/{ASKED_MAX + 5} not reviewed" in said and f"5/{ASKED_MAX + 5} unknown" in said


@pytest.mark.parametrize(
    ("forge", "url", "api"),
    [
        ("github", "git@github.com:a/b.git", "https://api.github.com"),
        ("gitea", "https://git.example.org/a/b.git", "https://git.example.org/api/v1"),
        ("gitea", "http://127.0.0.1:3000/a/b.git", "http://127.0.0.1:3000/api/v1"),
    ],
)
def test_where_the_api_is_follows_from_the_git_url(forge: str, url: str, api: str):
    assert api_url(Application("desk", forge, "a/b", url)) == api


def test_a_git_url_that_does_not_tell_asks_for_the_api():
    with pytest.raises(ConfigError, match="--url"):
        api_url(Application("desk", "gitea", "a/b", "git@git.example.org:a/b.git"))


def test_a_token_is_read_from_a_pipe_kept_and_in_no_entry_and_no_output(world: MemoryWorld):
    address = ("--url", "https://git.example.org/api/v1/")
    done = CliRunner().invoke(app, ["forge-token", "desk", *address], input="t0ken-of-the-forge\n")
    assert done.exit_code == 0, done.output
    assert world.applications.forge_access("desk") == ForgeAccess(
        "https://git.example.org/api/v1", "t0ken-of-the-forge"
    )
    assert "t0ken" not in done.output and "t0ken" not in str(world.ledger.entries())
    assert world.ledger.entries()[-1].kind == "application.forge_token_set"
    CliRunner().invoke(app, ["forge-token", "desk", "--remove"])
    assert world.applications.forge_access("desk") is None


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("--url", "https://user:secret@git.example.org/api/v1"), "t\n"),
        (("--url", "ftp://git.example.org"), "t\n"),
        ((), "\n"),
        ((), "two words\n"),
    ],
)
def test_what_is_no_address_or_no_token_is_refused(world: MemoryWorld, words: tuple[str, ...], given: str):
    assert CliRunner().invoke(app, ["forge-token", "desk", *words], input=given).exit_code != 0
    assert world.applications.forge_access("desk") is None
