"""Git repositories through cached mirrors: `STATE/mirrors/<application>.git`, by the `git` command.

Called by `ci` (the commit to build), `cd` (what differs from live) and `slipway app add` (does the URL work). A
checkout is written file by file from Git's objects: no attribute, filter, hook or submodule has a say in it.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import Field

from blocks.client_settings import passed_variables
from blocks.confinement import inside, place_links, write_new_file
from blocks.installed_block import InstalledBlock
from domain.delivery import Commit, split_person
from domain.errors import ConfigError, InvariantError, TransientError

PROTOCOLS = ("https", "http", "ssh", "git", "file")
# what HFS+ leaves out when it compares names. Source: git, utf8.c, next_hfs_char
_UNSEEN = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_CONTROL = re.compile(r"[\x01-\x1f\x7f]")
_BETWEEN = "\x1e"
_TRAILERS = ("Co-authored-by", "Reviewed-by")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_URL = re.compile(r"(https?|ssh|git|file)://\S+|/\S*|[\w.-]+@[\w.-]+:\S+")
_URL_WITH_SECRET = re.compile(r"https?://[^/@]+@|\w+://[^/@:]*:[^/@]*@")
_PASSED = ("HOME", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "GIT_SSL_CAINFO", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL")
_PASSED_PATTERNS = ("SSL_CERT_*", "*_proxy", "*_PROXY")
# What could be asked of the far end of `fetch` and is our limit when it never answers.
_QUICK_LIMIT_S = 60
_HARDENED = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.autoDetach": "false",
    # a mailmap in the repository would let an author appear as somebody else
    "log.mailmap": "false",
    "log.showSignature": "false",
    "protocol.allow": "never",
}


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One line of `git ls-tree`: mode, type, object, size, path."""

    mode: str
    object: str
    path: str
    size_bytes: int = 0


class GitSources(InstalledBlock):
    """Fulfils `domain.ports.Sources`: Git repositories, through mirrors that are kept between runs."""

    _block_type_name = "Slipway Git Sources"
    _block_type_slug = "slipway-git-sources"

    fetch_limit_s: int = Field(default=300, ge=1, description="Longest time to bring a mirror up to date.")
    files_max: int = Field(default=200_000, ge=1, description="Most files that a commit may have.")
    bytes_max: int = Field(default=4 * 1024**3, ge=1, description="Most bytes that the files of a commit may have.")

    def fetch(self, application: str, url: str) -> None:
        """Bring the mirror up to date, one fetch of an application at a time.

        Raises: ConfigError where the URL is no Git URL or holds a secret; TransientError with git's words otherwise.
        """
        check_url(url)
        with self._locked(application) as mirror:
            self._make(mirror)
            _remove_stale_locks(mirror)
            arguments = ["fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--force"]
            done = self._git(mirror, *arguments, "--", url, "+refs/heads/*:refs/heads/*", limit_s=self.fetch_limit_s)
            if done.returncode != 0:
                raise TransientError(
                    f"git could not fetch {url}: {_last_words(done)}. Check the URL and who may read it."
                )

    def checkout(self, application: str, commit: str, directory: Path) -> None:
        """Write exactly this commit's files into a new folder; nothing is left where that is not possible.

        Submodules become empty folders. Raises: ConfigError where the commit does not exist, or holds a path or a
        symbolic link that leads outside.
        """
        mirror = self._existing(application)
        self._check_commit(mirror, application, commit)
        if directory.exists():
            raise InvariantError(f"{directory} is there already; a checkout needs a new folder.")
        directory.mkdir(parents=True)
        try:
            self._write_tree(mirror, commit, directory)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def commits(self, application: str, *, base: str | None, head: str, limit: int = 50) -> list[Commit]:
        form = "%H%x00%an%x00%ae%x00%s%x00%cn%x00%ce" + "".join(f"%x00{_trailer(name)}" for name in _TRAILERS)
        fields = self._log(application, form, base=base, head=head, limit=limit).split("\0")
        width = 6 + len(_TRAILERS)
        return [_read_commit(fields[start : start + width]) for start in range(0, len(fields) - width + 1, width)]

    def people(self, application: str, *, base: str | None, head: str) -> frozenset[str]:
        form = f"%an%x00%ae%x00%cn%x00%ce%x00{_trailer(_TRAILERS[0])}"
        fields = self._log(application, form, base=base, head=head).split("\0")
        names = {name for value in set(fields) for part in value.split(_BETWEEN) for name in split_person(_plain(part))}
        return frozenset(names - {""})

    def _log(self, application: str, form: str, *, base: str | None, head: str, limit: int | None = None) -> str:
        mirror = self._existing(application)
        self._check_commit(mirror, application, head)
        known_base = base if base and self._kind(mirror, base) == "commit" else None
        span = f"{known_base}..{head}" if known_base else head
        bound = [] if limit is None else [f"--max-count={limit}"]
        done = self._git(mirror, "log", "-z", f"--format={form}", *bound, "--end-of-options", span)
        if done.returncode != 0:
            raise TransientError(f"git could not read the commits of {application}: {_last_words(done)}. Run again.")
        return done.stdout.decode("utf-8", "replace")

    def is_ancestor(self, application: str, older: str, newer: str) -> bool:
        try:
            mirror = self._existing(application)
        except ConfigError:
            return False
        if not (_SHA.fullmatch(older) and _SHA.fullmatch(newer)):
            return False
        return self._git(mirror, "merge-base", "--is-ancestor", older, newer).returncode == 0

    def commit_time(self, application: str, commit: str) -> int:
        mirror = self._existing(application)
        self._check_commit(mirror, application, commit)
        return int(self._git(mirror, "show", "-s", "--format=%ct", "--end-of-options", commit).stdout)

    def head(self, application: str, branch: str) -> str:
        """The commit of a branch. Raises: ConfigError that lists some of the branches there are."""
        mirror = self._existing(application)
        done = self._git(mirror, "rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/heads/{branch}")
        if done.returncode == 0:
            return done.stdout.decode().strip()
        listed = self._git(mirror, "for-each-ref", "--count=10", "--format=%(refname:short)", "refs/heads")
        branches = ", ".join(listed.stdout.decode("utf-8", "replace").split()) or "none yet"
        raise ConfigError(f"No branch '{branch}' in the repository of {application}. Branches: {branches}.")

    def _write_tree(self, mirror: Path, commit: str, directory: Path) -> None:
        entries = self._tree(mirror, commit)
        links: list[tuple[str, str]] = []
        with self._objects(mirror) as read:
            for entry in entries:
                if entry.mode == "160000":
                    inside(directory, entry.path).mkdir(parents=True, exist_ok=True)
                    continue
                content = read(entry.object)
                if entry.mode == "120000":
                    links.append((entry.path, os.fsdecode(b"".join(content))))
                else:
                    write_new_file(directory, entry.path, content, executable=entry.mode == "100755")
        place_links(directory, links)

    def _tree(self, mirror: Path, commit: str) -> list[TreeEntry]:
        """List a commit's files, no further than the limits: a few trees in one another can name billions."""
        entries: list[TreeEntry] = []
        size_bytes = 0
        for line in self._tree_lines(mirror, commit):
            entries.append(_read_entry(line))
            size_bytes += entries[-1].size_bytes
            if len(entries) > self.files_max or size_bytes > self.bytes_max:
                raise ConfigError(
                    f"Commit {commit[:12]} has more than {self.files_max} files or {self.bytes_max} bytes: there "
                    f"are {len(entries)} files and {size_bytes} bytes up to '{entries[-1].path[:100]}'. Shrink it, or "
                    "raise files_max or bytes_max in the block slipway-git-sources/main."
                )
        return entries

    def _tree_lines(self, mirror: Path, commit: str) -> Iterator[bytes]:
        process = subprocess.Popen(
            [*self._command(mirror), "ls-tree", "-r", "-l", "-z", "--full-tree", commit],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
        )
        assert process.stdout is not None
        try:
            rest = b""
            while piece := process.stdout.read(1 << 16):
                *lines, rest = (rest + piece).split(b"\0")
                yield from lines
            if process.wait() != 0 or rest:
                raise ConfigError(f"git could not read commit {commit[:12]}. Push it again, or delete the mirror.")
        finally:
            process.kill()
            process.stdout.close()
            process.wait()

    @contextmanager
    def _objects(self, mirror: Path) -> Generator["_ObjectReader"]:
        """Lend a reader of objects: one `git cat-file --batch` for all of them."""
        process = subprocess.Popen(
            [*self._command(mirror), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            yield _ObjectReader(process.stdin, process.stdout)
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait()

    def _check_commit(self, mirror: Path, application: str, commit: str) -> None:
        if not _SHA.fullmatch(commit):
            raise ConfigError(f"'{commit[:80]}' is no commit. Give the full SHA of 40 (or 64) hexadecimal digits.")
        if self._kind(mirror, commit) != "commit":
            raise ConfigError(
                f"The repository of {application} has no commit {commit}. Push it to a branch, or check the SHA."
            )

    def _kind(self, mirror: Path, object: str) -> str:
        if not _SHA.fullmatch(object):
            return ""
        done = self._git(mirror, "cat-file", "-t", object)
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def _make(self, mirror: Path) -> None:
        """Make an empty mirror, whole or not at all."""
        if (mirror / "HEAD").is_file():
            return
        draft = mirror.with_name(f".{mirror.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        done = self._git(draft, "init", "--quiet", "--bare", "--template=", str(draft))
        if done.returncode != 0:
            raise ConfigError(f"git could not make {mirror}: {_last_words(done)}. Check free space and permissions.")
        shutil.rmtree(mirror, ignore_errors=True)
        draft.rename(mirror)

    def _existing(self, application: str) -> Path:
        mirror = self._mirror(application)
        if not (mirror / "HEAD").is_file():
            raise ConfigError(f"There is no mirror of {application} yet. Fetch it first.")
        return mirror

    def _mirror(self, application: str) -> Path:
        return self.installation.folder("mirrors") / f"{application}.git"

    @contextmanager
    def _locked(self, application: str) -> Generator[Path]:
        mirror = self._mirror(application)
        with mirror.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield mirror

    def _git(
        self, mirror: Path, *arguments: str, limit_s: float = _QUICK_LIMIT_S
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [*self._command(mirror), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                env=self._environment(),
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired as exc:
            raise TransientError(f"git {arguments[0]} gave no answer in {limit_s:.0f} s. Check the network.") from exc
        except FileNotFoundError as exc:
            raise ConfigError("The command `git` is missing on this machine. Install it.") from exc

    def _command(self, mirror: Path) -> list[str]:
        allowed = {f"protocol.{name}.allow": "always" for name in PROTOCOLS}
        configured = [word for name, value in (_HARDENED | allowed).items() for word in ("-c", f"{name}={value}")]
        return ["git", "--git-dir", str(mirror), "--no-replace-objects", "--literal-pathspecs", *configured]

    def _environment(self) -> dict[str, str]:
        """The machine's own Git configuration holds (credentials, proxies); nothing that a hook left behind does."""
        kept = passed_variables([*_PASSED, *_PASSED_PATTERNS])
        never_ask = {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS": "true",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        ssh = {"GIT_SSH_COMMAND": kept.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")}
        path = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
        return {**kept, **never_ask, **ssh, "PATH": path, "LC_ALL": "C.UTF-8"}


def _trailer(name: str) -> str:
    return f"%(trailers:key={name},valueonly=true,unfold=true,separator=%x1e)"


def _plain(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()


def _read_commit(fields: list[str]) -> Commit:
    trailers = [tuple(_plain(value) for value in text.split(_BETWEEN) if value.strip()) for text in fields[6:]]
    return Commit(*(_plain(text) for text in fields[:6]), *trailers)  # pyright: ignore[reportArgumentType]


def check_url(url: str) -> None:
    """Refuse what is no Git URL, or holds a secret that would show in command lines and in the register.

    Raises: ConfigError.
    """
    if _URL_WITH_SECRET.match(url):
        raise ConfigError(
            "The URL holds a user or password. Register it without, and give git the credentials of this machine "
            "(`git config --global credential.helper store`, or an SSH key)."
        )
    if not _URL.fullmatch(url):
        raise ConfigError(
            f"'{url[:80]}' is no Git URL. Use https://host/owner/name.git, ssh://, git@host:owner/name.git, "
            "git://, file:// or an absolute path."
        )


class _ObjectReader:
    """Reads objects by name, one after another, in pieces."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests, self._answers = requests, answers

    def __call__(self, object: str) -> Iterator[bytes]:
        self._requests.write(f"{object}\n".encode())
        self._requests.flush()
        header = self._answers.readline().split()
        if len(header) != 3:
            raise TransientError(
                f"git could not read object {object}. The mirror is damaged: delete it, then run again."
            )
        return self._content(int(header[2]))

    def _content(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._answers.read(min(left, 1 << 20))
            if not piece:
                raise TransientError("git ended in the middle of an object. Run again.")
            left -= len(piece)
            yield piece
        self._answers.read(1)  # the line feed after each object


def _read_entry(line: bytes) -> TreeEntry:
    facts, _, path = line.partition(b"\t")
    mode, _, object, size = facts.decode().split()
    try:
        text = path.decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"File name {path!r} is not UTF-8. Rename it.") from exc
    if any(_is_git_folder(part) for part in PurePosixPath(text).parts):
        raise ConfigError(f"The commit holds '{text[:200]}', a path inside a .git folder. Remove it.")
    return TreeEntry(mode=mode, object=object, path=text, size_bytes=int(size) if size.isdigit() else 0)


def _is_git_folder(name: str) -> bool:
    """Whether some file system takes a name for `.git`: any case, NTFS's short name and streams, signs HFS+ skips."""
    plain = _UNSEEN.sub("", name).lower().partition(":")[0].rstrip(" .")
    return plain in (".git", "git~1")


def _remove_stale_locks(mirror: Path) -> None:
    """Remove what a killed git left; we hold the lock of the mirror, so nobody is at work there."""
    for path in (*mirror.glob("*.lock"), *mirror.glob("refs/**/*.lock"), *mirror.glob("objects/**/tmp_*")):
        path.unlink(missing_ok=True)


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR"))] or lines[-3:]
    return " ".join(telling)[:256].rstrip(".") or f"exit code {done.returncode}"
