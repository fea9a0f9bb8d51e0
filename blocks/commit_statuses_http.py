"""Commit statuses by a forge's API: `CommitStatuses` for GitHub and for Gitea (Forgejo's too), by HTTP with a token.

Source: GitHub REST "Create a commit status" and Gitea's repoCreateStatus: the same path and body
(`state`, `context`, `description`, `target_url`), answered with 201.
"""

import httpx

from domain.commit_status import CommitStatus
from domain.errors import ConfigError, TransientError
from domain.ports import Application, ForgeAccess

LIMIT_S = 1.5


class HttpCommitStatuses:
    """Fulfils `domain.ports.CommitStatuses`."""

    def send(self, application: Application, access: ForgeAccess, commit: str, status: CommitStatus) -> None:
        scheme = "Bearer" if application.forge == "github" else "token"
        headers = {"Authorization": f"{scheme} {access.token}", "Accept": "application/json"}
        url = f"{access.url}/repos/{application.repository}/statuses/{commit}"
        try:
            # redirects are not followed: the token would go along
            answer = httpx.post(url, json=status.as_body(), headers=headers, timeout=LIMIT_S, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise TransientError(f"{access.url} does not answer: {type(exc).__name__}.") from exc
        if answer.status_code in (200, 201):
            return
        if answer.status_code == 429 or answer.status_code >= 500:
            raise TransientError(f"{access.url} answered {answer.status_code} to a commit status.")
        raise ConfigError(
            f"{access.url} refuses a commit status ({answer.status_code}). Set a token with "
            "`slipway app forge-token` that may write commit statuses."
        )
