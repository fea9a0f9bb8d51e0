"""`[data]` of slipway.toml: an application names its own buckets only, and no reference leads nowhere."""

import pytest

from domain.application import parse_application
from domain.errors import ConfigError

FILE = """
[application]
name = "desk"
[[check]]
name = "unit"
kind = "unit"
command = ["true"]
[service]
command = ["serve"]
[database]
migrations = "migrations"
migrate = ["migrate"]
"""
REFERENCE = '[[data.references]]\nbucket = "desk-files"\ntable = "files"\ncolumn = "key"\n'


def test_buckets_and_references_are_read():
    data = parse_application(f'{FILE}\n[data]\nbuckets = ["desk-files"]\n{REFERENCE}').data
    assert data and data.buckets == ("desk-files",) and data.references[0].column == "key"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[data]\n", "names nothing"),
        ('[data]\nbuckets = ["backups"]\n', "must begin with 'desk-'"),
        (f'[data]\nbuckets = ["desk-other"]\n{REFERENCE}', "not among buckets"),
        ('[data]\nbuckets = ["Desk_Files"]\n', "data.buckets"),
        (f'[data]\nbuckets = ["desk-files"]\n{REFERENCE.replace("files", "files; DROP")}', "references"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        parse_application(f"{FILE}\n{text}")
