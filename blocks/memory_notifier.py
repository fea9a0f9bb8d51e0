"""A notifier in memory: the twin of `blocks/notifier_mailbox.py`."""

from dataclasses import dataclass, field

from domain.errors import TransientError


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was sent."""

    subject: str
    body: str


@dataclass(slots=True)
class MemoryNotifier:
    """Fulfils `domain.ports.Notifier` for tests; `is_away` makes every message a `TransientError`."""

    is_away: bool = False
    messages: list[Message] = field(default_factory=list[Message])

    def send(self, subject: str, body: str) -> None:
        if self.is_away:
            raise TransientError("The notifier does not answer. Look at its block's settings.")
        self.messages.append(Message(subject, body))
