"""The encoding that docs/reference/ledger.md describes is the one that is used."""

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path

from domain.ledger import Event, encode_entry

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "ledger.md").read_text()
EXAMPLES = re.findall(r"```json\n(\{[^\n]*\})\n```.*?```\n([0-9a-f]{64})\n```", PAGE, re.DOTALL)


def test_the_hashes_of_the_page_follow_from_the_page_alone():
    assert len(EXAMPLES) == 2
    prev_hash = "0" * 64
    for encoded, told in EXAMPLES:
        assert hashlib.sha256(f"{prev_hash}\n{encoded}".encode()).hexdigest() == told
        prev_hash = told


def test_the_encoded_entries_of_the_page_are_what_we_write():
    for encoded, _ in EXAMPLES:
        fields = json.loads(encoded)
        seq, at = fields.pop("seq"), datetime.fromisoformat(fields.pop("at").replace("Z", "+00:00"))
        assert encode_entry(seq, at, Event(**fields)) == encoded
    # the example is worth little if it leaves the hard cases out
    assert all(text in EXAMPLES[0][0] for text in ('\\"', "\\n", "汉", "😀", "2.0", "-0.0", "1e-07", "1e+16", "null"))


def test_the_form_of_an_exported_line_is_the_one_of_the_page():
    from deployments.ledger_export import write_line
    from domain.ledger import Link

    line = write_line(Link(1, EXAMPLES[0][0], "0" * 64, EXAMPLES[0][1]))
    assert line == f'{{"entry":{EXAMPLES[0][0]},"hash":"{EXAMPLES[0][1]}","prev_hash":"{"0" * 64}"}}\n'
    assert "the last 154 bytes before the line feed" in PAGE
    assert len(line.encode()) - 1 - 154 == len('{"entry":') + len(EXAMPLES[0][0].encode())
