"""The example says of itself what Slipway understands, and what it names is there."""

import re
from pathlib import Path

from domain.application import ApplicationFile, RolloutPart, parse_application

ROOT = Path(__file__).resolve().parents[2] / "examples" / "helpdesk"


def read_file() -> ApplicationFile:
    return parse_application((ROOT / "slipway.toml").read_text(encoding="utf-8"))


def test_the_file_is_valid_and_every_path_in_it_is_there():
    file = read_file()
    assert file.image is not None and file.database is not None and file.acceptance is not None
    paths = [file.build.requirements, file.image.dockerfile, file.database.migrations]
    paths += [part.requirements for part in (*file.check, file.acceptance) if part.requirements]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_it_has_unit_and_integration_checks_and_only_the_latter_asks_for_a_database():
    assert [(check.kind, check.database) for check in read_file().check] == [("unit", False), ("integration", True)]


def test_its_steps_are_short_and_the_file_says_that_this_is_for_the_demo():
    text = (ROOT / "slipway.toml").read_text(encoding="utf-8")
    watched_s = sum(step.watch_s for step in read_file().rollout.steps)
    assert watched_s < sum(step.watch_s for step in RolloutPart().steps)
    assert "FOR THE DEMO" in text and "15 minutes" in text


def test_without_the_lines_for_the_demo_it_watches_for_fifteen_minutes():
    text = (ROOT / "slipway.toml").read_text(encoding="utf-8")
    text = re.sub(r"^\[rollout\].*?(?=^\[objectives\])", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^.*# demo;.*$", "", text, flags=re.MULTILINE)
    file = parse_application(text)
    assert sum(step.watch_s for step in file.rollout.steps) == 900
    assert file.objectives.warm_up_s == 60


def test_its_locks_pin_every_wheel_by_hash_and_name_no_address():
    for name in ("requirements.lock", "requirements-test.lock", "requirements-acceptance.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        pins = re.findall(r"^[a-z0-9-]+==", text, flags=re.MULTILINE)
        entries = re.findall(
            r"^[a-z0-9-]+.*\\\n(?:    --hash=sha256:[0-9a-f]{64}.*\n)+", text + "\n", flags=re.MULTILINE
        )
        assert pins and len(pins) == len(entries), name
        assert "://" not in text and "index-url" not in text, name
