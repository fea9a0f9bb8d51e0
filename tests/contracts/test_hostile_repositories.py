"""What a hostile repository tries at its checkout, one by one; nothing is written outside, nothing of it runs."""

from pathlib import Path

import pytest
from fixtures_ci import Repository

from blocks.installation import Installation, Users
from blocks.sources_git import GitSources
from domain.errors import ConfigError, TransientError


@pytest.fixture
def git(open_tmp: Path) -> GitSources:
    state = open_tmp / "state"
    state.mkdir()
    Installation(state=state, sockets=state, ports={}, users=Users(), python=Path("python3"), postgres_bin=state).save()
    return GitSources(state=str(state))


def refused(git: GitSources, repository: Repository, commit: str, place: Path, words: str) -> None:
    git.fetch("desk", repository.url)
    before = sorted(path.name for path in place.parent.iterdir())
    with pytest.raises(ConfigError, match=words):
        git.checkout("desk", commit, place)
    assert sorted(path.name for path in place.parent.iterdir()) == before, "something was left, or written outside"


def tree_of(repository: Repository, lines: str) -> str:
    return repository.git("mktree", "--missing", stdin=lines.encode())


NAMES = [
    ".git",
    ".GiT",
    "git~1",
    "GIT~1",
    ".git ",
    ".git.",
    ".git . ",
    ".git::$INDEX_ALLOCATION",
    ".g\u200cit",
    "..",
    ".",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_some_file_system_takes_for_git_s_or_for_another_is_refused(
    git: GitSources, open_tmp: Path, name: str
):
    repository = Repository.make(open_tmp / "r", {"a": "a"})
    inner = tree_of(repository, f"100644 blob {repository.blob('[core]')}\tconfig\n")
    commit = repository.commit_tree(f"040000 tree {inner}\t{name}\n")
    refused(git, repository, commit, open_tmp / "out", "not a path inside|inside a .git folder")


def test_a_submodule_cannot_make_a_folder_outside(git: GitSources, open_tmp: Path):
    repository = Repository.make(open_tmp / "r", {"a": "a"})
    inner = tree_of(repository, f"160000 commit {'5' * 40}\tevil\n")
    commit = repository.commit_tree(f"040000 tree {inner}\t..\n")
    refused(git, repository, commit, open_tmp / "out", "not a path inside")
    assert not (open_tmp / "evil").exists()


@pytest.mark.parametrize("url", ["ext::sh -c 'touch {0}'", "file:///etc", "../../..", "--upload-pack=touch {0}"])
def test_a_submodule_s_address_is_never_asked(git: GitSources, open_tmp: Path, url: str):
    mark = open_tmp / "owned"
    module = f'[submodule "s"]\n\tpath = s\n\turl = "{url.format(mark)}"\n\tupdate = !touch {mark}\n'
    repository = Repository.make(open_tmp / "r", {".gitmodules": module})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'5' * 40},s")
    repository.git("commit", "--quiet", "--message", "submodule")
    git.fetch("desk", repository.url)
    git.checkout("desk", repository.git("rev-parse", "HEAD"), open_tmp / "out")
    assert not mark.exists() and list((open_tmp / "out/s").iterdir()) == []


def test_hooks_filters_and_settings_of_a_repository_never_run(git: GitSources, open_tmp: Path):
    mark = open_tmp / "owned"
    repository = Repository.make(
        open_tmp / "r", {".gitattributes": "* filter=evil diff=evil\n", "a": "a", ".gitconfig": "[core]\n\tpager = x\n"}
    )
    for hook in ("post-checkout", "post-merge", "pre-push", "post-update", "reference-transaction"):
        place = repository.path / ".git" / "hooks" / hook
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\ntouch {mark}\n")
        place.chmod(0o755)
    repository.git("config", "filter.evil.smudge", f"touch {mark}")
    repository.git("config", "core.fsmonitor", f"touch {mark}")
    git.fetch("desk", repository.url)
    git.checkout("desk", repository.git("rev-parse", "HEAD"), open_tmp / "out")
    assert not mark.exists() and (open_tmp / "out/a").read_text() == "a"


def test_an_lfs_pointer_stays_a_pointer(git: GitSources, open_tmp: Path):
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4' * 64}\nsize 12345\n"
    config = "[lfs]\n\turl = http://127.0.0.1:1/owned\n"
    repository = Repository.make(
        open_tmp / "r", {"big.bin": pointer, ".gitattributes": "*.bin filter=lfs\n", ".lfsconfig": config}
    )
    git.fetch("desk", repository.url)
    git.checkout("desk", repository.git("rev-parse", "HEAD"), open_tmp / "out")
    assert (open_tmp / "out/big.bin").read_text() == pointer


def test_a_bomb_of_trees_is_refused_with_the_figure(git: GitSources, open_tmp: Path):
    """Eight trees of ten, one in another: a hundred million files in a few hundred bytes."""
    repository = Repository.make(open_tmp / "r", {"a": "a"})
    inner = tree_of(repository, "".join(f"100644 blob {repository.blob('x')}\tf{n}\n" for n in range(10)))
    for _ in range(7):
        inner = tree_of(repository, "".join(f"040000 tree {inner}\td{n}\n" for n in range(10)))
    git.files_max = 5_000
    refused(git, repository, repository.commit_tree(f"040000 tree {inner}\tbomb\n"), open_tmp / "out", "5000 files")


def test_a_huge_file_is_refused_with_the_figure_before_it_is_written(git: GitSources, open_tmp: Path):
    repository = Repository.make(open_tmp / "r", {"zeros": b"\0" * 30_000_000})
    git.bytes_max = 20_000_000
    refused(git, repository, repository.git("rev-parse", "HEAD"), open_tmp / "out", "20000000 bytes")


@pytest.mark.parametrize("url", ["ext::sh -c 'touch owned'", "fd::17", "transport::address"])
def test_an_address_that_names_a_program_is_refused(git: GitSources, open_tmp: Path, url: str):
    with pytest.raises((ConfigError, TransientError)):
        git.fetch("desk", url)
