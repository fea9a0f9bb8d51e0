"""Commit statuses in memory: the twin of `blocks/commit_statuses_http.py`."""

from domain.commit_status import CommitStatus
from domain.errors import TransientError
from domain.ports import Application, ForgeAccess


class MemoryCommitStatuses:
    """Fulfils `domain.ports.CommitStatuses` for tests; `sent` shows all, `is_away` makes it fail."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str]]] = []
        self.asked = 0
        self.is_away = False

    def send(self, application: Application, access: ForgeAccess, commit: str, status: CommitStatus) -> None:
        self.asked += 1
        if self.is_away:
            raise TransientError("The forge does not answer.")
        self.sent.append((commit, status.as_body()))
