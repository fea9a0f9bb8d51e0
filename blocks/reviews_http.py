"""Reviews from a forge's API: `Reviews` for GitHub and for Gitea (Forgejo's too), by HTTP with a token.

Both know the pull requests of a commit, their commits and their reviews; paths, and some words, differ.

Source: GitHub REST "List pull requests associated with a commit", "List commits on a pull request", "List reviews for a
pull request"; Gitea `modules/structs/pull_review.go` and the API operations repoGetCommitPullRequest (404 where no
merged pull request has that merge commit), repoGetPullRequestCommits, repoListPullReviews.
"""

from typing import Annotated, Any, TypeVar

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from domain.errors import ConfigError, TransientError
from domain.ports import Application, ForgeAccess
from domain.pull_request import Opinion, PullRequest, State

LIMIT_S = 5.0
PAGE = 50
PAGES_MAX = 6
BYTES_MAX = 5_000_000
T = TypeVar("T")

_STATES: dict[str, State] = {
    "APPROVED": "approved",
    "CHANGES_REQUESTED": "refused",
    "REQUEST_CHANGES": "refused",
    "DISMISSED": "withdrawn",
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _User(_Body):
    login: str = ""


class _Head(_Body):
    sha: str = ""


_Somebody = Annotated[_User, BeforeValidator(lambda value: value or {})]
"""A deleted account is null."""


class _Pull(_Body):
    number: int
    user: _Somebody = _User()
    head: _Head = _Head()
    merged_at: str | None = None


class _Review(_Body):
    user: _Somebody = _User()
    state: str = ""
    commit_id: str | None = None
    dismissed: bool = False
    stale: bool = False


class HttpReviews:
    """Fulfils `domain.ports.Reviews`."""

    def pull_requests(self, application: Application, access: ForgeAccess, commit: str) -> list[PullRequest]:
        scheme = "Bearer" if application.forge == "github" else "token"
        headers = {"Authorization": f"{scheme} {access.token}", "Accept": "application/json"}
        # redirects are not followed: the token would go along
        with httpx.Client(base_url=access.url, headers=headers, timeout=LIMIT_S, follow_redirects=False) as client:
            forge = _Forge(client, f"repos/{application.repository}", application.forge)
            return [forge.complete(pull) for pull in forge.pulls(commit) if pull.merged_at]


class _Forge:
    """One repository's API, for as long as one question takes."""

    def __init__(self, client: httpx.Client, repository: str, forge: str) -> None:
        self._client, self._repository, self._is_github = client, repository, forge == "github"

    def pulls(self, commit: str) -> list[_Pull]:
        if self._is_github:
            return self._pages(f"commits/{commit}/pulls", _Pull)
        found = self._get(f"commits/{commit}/pull", {})
        return [] if found is None else [_read(_Pull, found)]

    def complete(self, pull: _Pull) -> PullRequest:
        commits = self._pages(f"pulls/{pull.number}/commits", _Head)
        reviews = self._pages(f"pulls/{pull.number}/reviews", _Review)
        return PullRequest(
            number=pull.number,
            author=pull.user.login,
            head=pull.head.sha,
            commits=tuple(commit.sha for commit in commits),
            opinions=tuple(Opinion(one.user.login, _state(one), one.commit_id or "") for one in reviews),
        )

    def _pages(self, path: str, kind: type[T]) -> list[T]:
        """Read a list to its end. Raises: TransientError where it has none within our bounds."""
        found: list[T] = []
        for page in range(1, PAGES_MAX + 1):
            values = self._get(path, {"page": page, "per_page" if self._is_github else "limit": PAGE})
            read = _read(list[kind], values or [])
            found += read
            if len(read) < PAGE:
                return found
        raise TransientError(f"{self._client.base_url} lists more than {PAGE * PAGES_MAX} at {path}.")

    def _get(self, path: str, query: dict[str, Any]) -> Any:
        """Ask once; None where there is no such thing."""
        try:
            answer = self._client.get(f"{self._repository}/{path}", params=query)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise TransientError(f"{self._client.base_url} does not answer: {type(exc).__name__}.") from exc
        if answer.status_code == 404:
            return None
        if answer.status_code in (401, 403):
            raise ConfigError(
                f"{self._client.base_url} refuses the token ({answer.status_code}). Set another with "
                "`slipway app forge-token`; it takes the right to read the repository."
            )
        if answer.status_code != 200 or len(answer.content) > BYTES_MAX:
            raise TransientError(f"{self._client.base_url} answered {answer.status_code} to {path}.")
        try:
            return answer.json()
        except ValueError as exc:
            raise TransientError(f"{self._client.base_url} answered no JSON to {path}.") from exc


def _state(review: _Review) -> State:
    if review.dismissed or review.stale:
        return "withdrawn"
    return _STATES.get(review.state, "other")


def _read(kind: type[T], value: Any) -> T:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as exc:
        raise TransientError(f"The forge's answer is not as expected: {str(exc)[:200]}") from exc
