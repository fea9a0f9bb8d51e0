"""What sources promise, in memory and from real Git repositories; and what a hostile repository can't do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures_ci import Repository

from blocks.installation import Installation, Users
from blocks.memory_sources import MemoryCommit, MemoryRepository, MemorySources
from blocks.sources_git import GitSources, check_url
from domain.delivery import Commit
from domain.errors import ConfigError, TransientError
from domain.ports import Sources

FIRST = {"README.md": "first\n", "bin/run": "#!/bin/sh\n"}
SECOND = {"README.md": "second\n", "tests/test_a.py": "x = 1\n"}


class Given:
    """Sources with one repository of two commits on `main`."""

    sources: Sources
    url: str
    shas: tuple[str, str]
    commit_more: Callable[[], str]


@pytest.fixture
def git(open_tmp: Path) -> GitSources:
    state = open_tmp / "state"
    state.mkdir()
    Installation(state=state, sockets=state, ports={}, users=Users(), python=Path("python3"), postgres_bin=state).save()
    return GitSources(state=str(state))


@pytest.fixture(params=["memory", "git"])
def given(request: pytest.FixtureRequest, open_tmp: Path) -> Given:
    given = Given()
    if request.param == "git":
        given.sources = request.getfixturevalue("git")
        repository = Repository.make(open_tmp / "repository", FIRST)
        given.url = repository.url
        given.shas = (repository.git("rev-parse", "HEAD"), repository.commit(SECOND, "second"))
        given.commit_more = lambda: repository.commit({"more": "x"}, "third")
        return given
    sources = MemorySources()
    commits = {
        "a" * 40: MemoryCommit(Commit("a" * 40, "Ann", "ann@example.org", "first"), _bytes(FIRST)),
        "b" * 40: MemoryCommit(
            Commit("b" * 40, "Ann", "ann@example.org", "second"), _bytes({**FIRST, **SECOND}), parent="a" * 40
        ),
    }
    remote = sources.repositories["/srv/x.git"] = MemoryRepository(commits, {"main": "b" * 40})

    def commit_more() -> str:
        remote.commits["c" * 40] = MemoryCommit(Commit("c" * 40, "Ann", "a", "third"), {}, parent="b" * 40)
        remote.branches["main"] = "c" * 40
        return "c" * 40

    given.sources, given.url, given.shas, given.commit_more = sources, "/srv/x.git", ("a" * 40, "b" * 40), commit_more
    return given


def _bytes(files: dict[str, str]) -> dict[str, bytes]:
    return {path: content.encode() for path, content in files.items()}


def files_in(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_exactly_the_files_of_one_commit_are_written(given: Given, tmp_path: Path):
    given.sources.fetch("desk", given.url)
    given.sources.checkout("desk", given.shas[0], tmp_path / "first")
    given.sources.checkout("desk", given.shas[1], tmp_path / "second")
    assert files_in(tmp_path / "first") == FIRST
    assert files_in(tmp_path / "second") == {**FIRST, **SECOND}


def test_a_commit_that_does_not_exist_leaves_nothing(given: Given, tmp_path: Path):
    given.sources.fetch("desk", given.url)
    with pytest.raises(ConfigError, match="has no commit"):
        given.sources.checkout("desk", "0" * 40, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_commits_between_two_are_listed_newest_first(given: Given):
    given.sources.fetch("desk", given.url)
    first, second = given.shas
    assert [commit.sha for commit in given.sources.commits("desk", base=None, head=second)] == [second, first]
    listed = given.sources.commits("desk", base=first, head=second)
    assert [(commit.sha, commit.author, commit.title) for commit in listed] == [(second, "Ann", "second")]
    assert [commit.sha for commit in given.sources.commits("desk", base="0" * 40, head=second, limit=1)] == [second]
    assert given.sources.commits("desk", base=second, head=second) == []


def test_people_are_all_who_wrote_committed_or_co_wrote_in_the_range(given: Given):
    given.sources.fetch("desk", given.url)
    first, second = given.shas
    everybody = given.sources.people("desk", base=None, head=second)
    for sha, base in ((first, None), (second, first)):
        (commit,) = given.sources.commits("desk", base=base, head=sha)
        assert commit.people <= everybody and {commit.author, commit.author_email} <= commit.people
    assert given.sources.people("desk", base=second, head=second) == frozenset()
    assert given.sources.people("desk", base="0" * 40, head=second) == everybody


def test_nobody_in_a_long_range_is_overlooked_and_a_mailmap_hides_nobody(git: GitSources, open_tmp: Path):
    repository = Repository.make(open_tmp / "r", FIRST)
    base = repository.git("rev-parse", "HEAD")
    mailmap = "Nobody <nobody@example.org> Mallory <mallory@example.org>\n"
    repository.commit({".mailmap": mailmap}, "hidden", author="Mallory <mallory@example.org>")
    for number in range(60):
        repository.commit({"x": str(number)}, f"filler {number}")
    message = (
        "Together\n\nCo-authored-by: Eve Roe <eve@example.org>\nco-authored-by: Just-A-Name\nReviewed-by: Rob <r@x>"
    )
    head = repository.commit({"y": "y"}, message)
    git.fetch("desk", repository.url)
    people = git.people("desk", base=base, head=head)
    assert {"Mallory", "mallory@example.org", "Eve Roe", "eve@example.org", "Just-A-Name"} <= people
    assert not {"Rob", "r@x", "Nobody"} & people
    (newest,) = git.commits("desk", base=base, head=head, limit=1)
    assert newest.reviewed_by == ("Rob <r@x>",) and {"Eve Roe", "Just-A-Name"} <= newest.people
    assert newest.title == "Together"


def test_a_committer_who_is_not_the_author_is_known(git: GitSources, open_tmp: Path):
    repository = Repository.make(open_tmp / "r", FIRST)
    base = repository.git("rev-parse", "HEAD")
    head = repository.commit({"x": "1"}, "picked", author="Ann Lee <ann@example.org>")
    git.fetch("desk", repository.url)
    (commit,) = git.commits("desk", base=base, head=head)
    assert commit.author == "Ann Lee" and commit.committer and commit.committer != "Ann Lee"
    assert commit.committer_email in git.people("desk", base=base, head=head)


def test_the_mirror_knows_what_was_fetched_and_no_more(given: Given):
    given.sources.fetch("desk", given.url)
    third = given.commit_more()
    assert given.sources.head("desk", "main") == given.shas[1]
    with pytest.raises(ConfigError):
        given.sources.commit_time("desk", third)
    given.sources.fetch("desk", given.url)
    assert given.sources.head("desk", "main") == third
    assert given.sources.commit_time("desk", third) > 1_000_000_000


def test_a_wrong_branch_lists_those_there_are(given: Given):
    given.sources.fetch("desk", given.url)
    with pytest.raises(ConfigError, match="Branches: main"):
        given.sources.head("desk", "trunk")


def test_a_repository_that_is_not_there_is_worth_asking_again(given: Given):
    with pytest.raises(TransientError, match="/nowhere"):
        given.sources.fetch("desk", "/nowhere/at/all.git")


def test_before_the_first_fetch_there_is_nothing(given: Given):
    with pytest.raises(ConfigError, match="Fetch it first"):
        given.sources.head("desk", "main")


@pytest.mark.parametrize("commit", ["main", "HEAD", "abc123", "--output=/tmp/x", "a" * 39 + "\n", ""])
def test_only_a_full_sha_names_a_commit(git: GitSources, open_tmp: Path, commit: str):
    git.fetch("desk", Repository.make(open_tmp / "r", FIRST).url)
    with pytest.raises(ConfigError, match="full SHA"):
        git.checkout("desk", commit, open_tmp / "out")


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "--upload-pack=id",
        "fd::7",
        "relative/path",
        "ftp://host/x",
        "https://a:b@host/x",
        "https://t@h/x",
    ],
)
def test_what_is_no_url_or_holds_a_secret_is_refused(url: str):
    with pytest.raises(ConfigError):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    ["https://h/x.git", "ssh://git@h/x", "git@h:o/n.git", "git://h/x", "file:///srv/x", "/srv/x.git", "http://h/x"],
)
def test_every_form_of_a_git_url_is_taken(url: str):
    check_url(url)


def test_attributes_and_submodules_of_a_commit_have_no_say(git: GitSources, open_tmp: Path):
    repository = Repository.make(open_tmp / "r", {"a.txt": "$Id$ $Format:%H$\n", "hidden/b": "b"})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'5' * 40},sub")
    commit = repository.commit(
        {".gitattributes": "hidden export-ignore\n*.txt ident export-subst text eol=crlf filter=x\n"}
    )
    git.fetch("desk", repository.url)
    git.checkout("desk", commit, open_tmp / "out")
    assert (open_tmp / "out/a.txt").read_bytes() == b"$Id$ $Format:%H$\n"
    assert (open_tmp / "out/hidden/b").read_text() == "b"
    assert not list((open_tmp / "out").glob("sub/*")) and not list((open_tmp / "out").rglob(".git"))


def test_modes_are_those_of_the_commit_whatever_the_umask(git: GitSources, open_tmp: Path):
    repository = Repository.make(open_tmp / "r", FIRST)
    repository.git("update-index", "--chmod=+x", "bin/run")
    repository.git("commit", "--quiet", "--message", "x")
    git.fetch("desk", repository.url)
    git.checkout("desk", repository.git("rev-parse", "HEAD"), open_tmp / "out")
    assert (open_tmp / "out/bin/run").stat().st_mode & 0o777 == 0o755
    assert (open_tmp / "out/README.md").stat().st_mode & 0o777 == 0o644


def test_a_link_inside_is_kept(git: GitSources, open_tmp: Path):
    repository = Repository.make(open_tmp / "r", FIRST)
    (repository.path / "docs").mkdir()
    (repository.path / "docs/readme").symlink_to("../README.md")
    git.fetch("desk", repository.url)
    commit = repository.commit({})
    git.fetch("desk", repository.url)
    git.checkout("desk", commit, open_tmp / "out")
    assert (open_tmp / "out/docs/readme").read_text() == "first\n"


@pytest.mark.parametrize("to", ["/etc/passwd", "../outside", "a/../../outside", "."])
def test_a_link_that_leads_outside_is_refused_and_nothing_is_left(git: GitSources, open_tmp: Path, to: str):
    repository = Repository.make(open_tmp / "r", FIRST)
    link = repository.blob(to)
    lines = f"120000 blob {link}\tlink\n"
    if to == ".":  # harmless alone; with the second one it leads outside
        lines += f"120000 blob {repository.blob('link/../../outside')}\tother\n"
    commit = repository.commit_tree(lines)
    git.fetch("desk", repository.url)
    with pytest.raises(ConfigError, match="outside the repository"):
        git.checkout("desk", commit, open_tmp / "out")
    assert not (open_tmp / "out").exists()


@pytest.mark.parametrize("name", ["..", ".git", ".GIT"])
def test_a_hostile_path_is_refused_and_nothing_is_left(git: GitSources, open_tmp: Path, name: str):
    repository = Repository.make(open_tmp / "r", FIRST)
    blob = repository.blob("owned")
    folder = repository.git("mktree", stdin=f"100644 blob {blob}\tconfig\n".encode())
    commit = repository.commit_tree(f"040000 tree {folder}\t{name}\n")
    git.fetch("desk", repository.url)
    with pytest.raises(ConfigError):
        git.checkout("desk", commit, open_tmp / "out")
    assert not (open_tmp / "out").exists() and not (open_tmp / "config").exists()


def test_a_file_and_a_link_of_one_name_are_refused(git: GitSources, open_tmp: Path):
    repository = Repository.make(open_tmp / "r", FIRST)
    file, link = repository.blob("x"), repository.blob("README.md")
    inner = repository.git("mktree", stdin=f"100644 blob {file}\tfile\n".encode())
    commit = repository.commit_tree(f"120000 blob {link}\ta\n040000 tree {inner}\ta\n")
    git.fetch("desk", repository.url)
    with pytest.raises(ConfigError, match="twice"):
        git.checkout("desk", commit, open_tmp / "out")


def test_hooks_left_in_a_mirror_and_locks_of_a_killed_git_do_no_harm(git: GitSources, open_tmp: Path):
    repository = Repository.make(open_tmp / "r", FIRST)
    git.fetch("desk", repository.url)
    mirror = git.installation.state / "mirrors/desk.git"
    hook = mirror / "hooks/reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {open_tmp}/hook-ran\n")
    hook.chmod(0o755)
    (mirror / "packed-refs.lock").touch()
    (mirror / "refs/heads/main.lock").touch()
    commit = repository.commit(SECOND)
    git.fetch("desk", repository.url)
    assert git.head("desk", "main") == commit
    assert not (open_tmp / "hook-ran").exists()


def test_the_environment_of_a_hook_does_not_reach_git(git: GitSources, open_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    """`slipway app add` may be called from a Git hook, where GIT_DIR names another repository."""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nowhere")
    repository = Repository.make(open_tmp / "r", FIRST)
    git.fetch("desk", repository.url)
    assert git.head("desk", "main") == repository.git("rev-parse", "HEAD")


def test_what_is_in_whose_history_is_known_and_what_is_unknown_is_in_nobodys(given: Given):
    first, second = given.shas
    assert given.sources.is_ancestor("desk", first, second) is False, "no mirror yet"
    given.sources.fetch("desk", given.url)
    assert given.sources.is_ancestor("desk", first, second) and given.sources.is_ancestor("desk", first, first)
    assert not given.sources.is_ancestor("desk", second, first)
    assert not given.sources.is_ancestor("desk", "0" * 40, second)
    assert not given.sources.is_ancestor("desk", first, "--exec")
