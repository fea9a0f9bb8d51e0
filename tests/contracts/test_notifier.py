"""A notifier tells people: whole messages, or an error that says why not."""

import asyncio
import json
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.installation import Installation, Users
from blocks.memory_notifier import MemoryNotifier
from blocks.notifier_mailbox import BlockNotifier, MailboxNotifier, open_notifier, read_mailbox
from domain.errors import TransientError
from domain.ports import Notifier


class Webhook(HTTPServer):
    """Takes messages as a chat's webhook does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), TakesMessages)
        self.taken: list[tuple[str, str]] = []
        self.status = 200
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def block(self) -> CustomWebhookNotificationBlock:
        return CustomWebhookNotificationBlock(
            name="chat",
            url=f"http://127.0.0.1:{self.server_address[1]}/",
            json_data={"title": "{{subject}}", "text": "{{body}}"},
        )


class TakesMessages(BaseHTTPRequestHandler):
    server: Webhook  # type: ignore[assignment]

    def do_POST(self) -> None:
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.taken.append((value["title"], value["text"]))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def webhook() -> Generator[Webhook]:
    server = Webhook()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    value = Installation(tmp_path, tmp_path, {}, Users(), Path("/usr/bin/python3"), tmp_path)
    value.save()
    return value


@dataclass
class Bench:
    """A notifier, what arrived, and how to make it fail."""

    notifier: Notifier
    arrived: Callable[[], list[tuple[str, str]]]
    break_it: Callable[[], object]


def _memory_bench() -> Bench:
    notifier = MemoryNotifier()

    def go_away() -> None:
        notifier.is_away = True

    return Bench(notifier, lambda: [(one.subject, one.body) for one in notifier.messages], go_away)


def _mailbox_bench(installation: Installation) -> Bench:
    notifier = MailboxNotifier(state=str(installation.state))

    def block_the_folder() -> None:
        (installation.state / "mailbox").rename(installation.state / "moved")
        (installation.state / "mailbox").write_text("a file where the folder should be")

    def arrived() -> list[tuple[str, str]]:
        return [(one.subject, one.body) for one in read_mailbox(notifier.folder)]

    return Bench(notifier, arrived, block_the_folder)


def _block_bench(webhook: Webhook) -> Bench:
    def refuse() -> None:
        webhook.status = 503

    return Bench(BlockNotifier(webhook.block()), lambda: webhook.taken, refuse)


@pytest.fixture(params=["memory", "mailbox", "prefect block"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "memory":
        return _memory_bench()
    if request.param == "mailbox":
        return _mailbox_bench(request.getfixturevalue("installation"))
    return _block_bench(request.getfixturevalue("webhook"))


def test_messages_arrive_whole_and_in_order(bench: Bench) -> None:
    messages = [("Release waits", "line one\n\nline two: 好 ✓"), ("Second", "x" * 5000), ("第三", "y")]
    for subject, body in messages:
        bench.notifier.send(subject, body)
    assert bench.arrived() == messages


def test_a_message_that_can_not_be_sent_is_a_transient_error(bench: Bench) -> None:
    bench.notifier.send("first", "arrives")
    bench.break_it()
    with pytest.raises(TransientError):
        bench.notifier.send("second", "does not")


# What only the real ones can show.


def test_the_mailbox_is_for_its_owner_and_bounded(installation: Installation) -> None:
    notifier = MailboxNotifier(state=str(installation.state), messages_max=3)
    for number in range(5):
        notifier.send(f"number {number}", "body")
    messages = read_mailbox(notifier.folder)
    assert [message.subject for message in messages] == ["number 2", "number 3", "number 4"]
    assert {message.path.stat().st_mode & 0o777 for message in messages} == {0o600}
    assert notifier.folder.stat().st_mode & 0o777 == 0o700


def test_a_subject_can_not_forge_a_head(installation: Installation) -> None:
    notifier = MailboxNotifier(state=str(installation.state))
    notifier.send("two\nlines\n\nDate: never", "body")
    (message,) = read_mailbox(notifier.folder)
    assert (message.subject, message.body) == ("two lines Date: never", "body")


def test_the_mailbox_takes_what_prefects_automations_send(installation: Installation) -> None:
    notifier = MailboxNotifier(state=str(installation.state))
    asyncio.run(notifier.notify("the body", "the subject"))
    assert [(one.subject, one.body) for one in read_mailbox(notifier.folder)] == [("the subject", "the body")]


def test_a_block_sends_from_within_a_running_loop_too(webhook: Webhook) -> None:
    async def send() -> None:
        BlockNotifier(webhook.block()).send("from a loop", "body")

    asyncio.run(send())
    assert webhook.taken == [("from a loop", "body")]


def test_a_block_that_nobody_answers_says_so(webhook: Webhook) -> None:
    block = webhook.block()
    webhook.shutdown()
    webhook.server_close()
    with pytest.raises(TransientError, match=r"CustomWebhookNotificationBlock did not send: .*refused"):
        BlockNotifier(block).send("subject", "body")


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1/api"])
def test_while_prefect_is_away_the_notifier_is_the_mailbox(installation: Installation, url: str | None) -> None:
    with temporary_settings({PREFECT_API_URL: url}):
        notifier = open_notifier(installation)
    notifier.send("alone", "body")
    assert [one.subject for one in read_mailbox(installation.state / "mailbox")] == ["alone"]
