"""Telling people: a mailbox in the state folder, and from there any notification block that Prefect has.

The mailbox is the default, since it needs nothing and loses nothing: one readable file for each message, newest last.
Its block document (`slipway-mailbox/main`) may name others, `slack-webhook/ops` say, that get every message as well.
"""

import asyncio
import inspect
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL
from pydantic import Field

from blocks.installation import Installation, write_private
from blocks.installed_block import InstalledBlock
from domain.errors import SlipwayError, TransientError
from domain.ports import Notifier

_SEND_LIMIT_S = 60


class MailboxNotifier(InstalledBlock, NotificationBlock):
    """Keeps each message as a file of the state folder, and passes it on where told to."""

    _block_type_name = "Slipway Mailbox"
    _block_type_slug = "slipway-mailbox"

    also: list[str] = Field(
        default=[], description="Prefect notification blocks that get each message too, as type-slug/name."
    )
    messages_max: int = Field(default=10_000, ge=1, description="How many messages are kept; the oldest go first.")

    def send(self, subject: str, body: str) -> None:
        """Keep one message, then pass it on.

        Effect: a file, then a message to each of `also`; not to be repeated for the same message.
        Raises: TransientError naming what did not take it; all others have it.
        """
        self._keep(subject, body)
        problems = [problem for reference in self.also if (problem := _try(reference, subject, body))]
        if problems:
            raise TransientError(f"The message is in {self.folder}, but {'; '.join(problems)}.")

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Keep one message, as Prefect's automations ask for it."""
        self._keep(subject or "", body)

    @property
    def folder(self) -> Path:
        """Where the messages are."""
        return self.installation.state / "mailbox"

    def _keep(self, subject: str, body: str) -> None:
        at = datetime.now(UTC)
        name = f"{at:%Y%m%dT%H%M%S.%f}Z-{secrets.token_hex(2)}.txt"
        text = f"Subject: {' '.join(subject.split())}\nDate: {at:%Y-%m-%d %H:%M:%S} UTC\n\n{body}\n"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self.folder / name, text)
            for path in sorted(self.folder.glob("*.txt"))[: -self.messages_max]:
                path.unlink(missing_ok=True)
        except OSError as exc:
            raise TransientError(f"The message could not be kept: {exc}. Free disk space.") from exc


@dataclass(frozen=True, slots=True)
class BlockNotifier:
    """Fulfils `domain.ports.Notifier` with any notification block of Prefect."""

    block: NotificationBlock

    def send(self, subject: str, body: str) -> None:
        """Send one message. Raises: TransientError with the block's own words."""
        try:
            with self.block.raise_on_failure():
                _finish(lambda: cast(Any, self.block).notify(body=body, subject=subject))
        except Exception as exc:
            words = str(getattr(exc, "log", "") or exc)[:256]
            kind = type(self.block).__name__
            raise TransientError(f"{kind} did not send: {words or type(exc).__name__}. Check its settings.") from exc


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the mailbox."""

    subject: str
    body: str
    path: Path


def read_mailbox(folder: Path, *, limit: int = 50) -> list[Message]:
    """Read the newest messages of a mailbox, oldest first; one that is being taken away is left out."""
    messages: list[Message] = []
    for path in sorted(folder.glob("*.txt"))[-limit:]:
        try:
            head, _, body = path.read_text("utf-8").partition("\n\n")
        except FileNotFoundError:
            continue
        messages.append(Message(head.partition("\n")[0].removeprefix("Subject: "), body.rstrip("\n"), path))
    return messages


def open_notifier(installation: Installation) -> Notifier:
    """Open the installation's notifier: the mailbox, as its block document says, or plainly while Prefect is away."""
    plain = MailboxNotifier(state=str(installation.state))
    if not PREFECT_API_URL.value():
        return plain
    try:
        document = cast(MailboxNotifier, MailboxNotifier.load("main"))
    except (ValueError, httpx.HTTPError):
        return plain
    return document.model_copy(update={"state": str(installation.state)})


def _try(reference: str, subject: str, body: str) -> str:
    """Send by a block document; returns the problem, empty when there was none."""
    try:
        block = Block.load(reference)
        if not isinstance(block, NotificationBlock):
            return f"{reference} is no notification block"
        BlockNotifier(block).send(subject, body)
    except (ValueError, httpx.HTTPError, SlipwayError) as exc:
        return f"{reference}: {str(exc)[:256].rstrip('.')}"
    return ""


def _finish(call: Callable[[], Any]) -> None:
    """Make a call that may give a coroutine, from a thread without a loop, so that it is the same in every context."""

    def run() -> None:
        answer = call()
        if inspect.isawaitable(answer):
            asyncio.run(_await(answer))

    with ThreadPoolExecutor(1) as threads:
        threads.submit(run).result(timeout=_SEND_LIMIT_S)


async def _await(answer: Any) -> None:
    await answer
