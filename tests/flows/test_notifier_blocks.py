"""The mailbox passes messages on to the notification blocks that its document names."""

import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret

from blocks.installation import Installation, Users
from blocks.notifier_mailbox import MailboxNotifier, open_notifier, read_mailbox
from domain.errors import TransientError

TAKEN: list[str] = []


class TakesMessages(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        TAKEN.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def chat() -> Generator[str]:
    """A chat that takes messages, and its block document."""
    server = HTTPServer(("127.0.0.1", 0), TakesMessages)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    block = CustomWebhookNotificationBlock(
        name="chat",
        url=f"http://127.0.0.1:{server.server_address[1]}/",
        json_data={"text": "{{subject}}: {{body}}"},
    )
    block.save("ops", overwrite=True)
    TAKEN.clear()
    yield "custom-webhook/ops"
    server.shutdown()
    server.server_close()


def test_the_mailbox_document_says_who_else_gets_each_message(chat: str, tmp_path: Path) -> None:
    installation = Installation(tmp_path, tmp_path, {}, Users(), Path("/usr/bin/python3"), tmp_path)
    installation.save()
    MailboxNotifier(also=[chat]).save("main", overwrite=True)
    open_notifier(installation).send("gate", "waits")
    assert TAKEN == ["gate: waits"]

    Secret(value="nothing to send with").save("plain", overwrite=True)
    MailboxNotifier(also=["secret/plain", "slack-webhook/absent", chat]).save("main", overwrite=True)
    with pytest.raises(TransientError, match=r"secret/plain is no notification block; slack-webhook/absent: "):
        open_notifier(installation).send("gate", "expired")
    assert TAKEN == ["gate: waits", "gate: expired"]
    assert [message.body for message in read_mailbox(tmp_path / "mailbox")] == ["waits", "expired"]
