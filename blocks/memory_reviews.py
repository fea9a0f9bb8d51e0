"""Reviews in memory: the twin of `blocks/reviews_http.py`."""

from domain.errors import ConfigError, TransientError
from domain.ports import Application, ForgeAccess
from domain.pull_request import PullRequest


class MemoryReviews:
    """Fulfils `domain.ports.Reviews` for tests; put merged pull requests into `pulls`, by commit."""

    def __init__(self, token: str = "a-token") -> None:
        self.pulls: dict[str, list[PullRequest]] = {}
        self.is_away = False
        self.asked = 0
        self._token = token

    def pull_requests(self, application: Application, access: ForgeAccess, commit: str) -> list[PullRequest]:
        self.asked += 1
        if self.is_away:
            raise TransientError("the forge does not answer.")
        if access.token != self._token:
            raise ConfigError("the forge refuses the token. Set another with `slipway app forge-token`.")
        return list(self.pulls.get(commit, []))
