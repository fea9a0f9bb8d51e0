"""Backups on a whole stack: one by the command line, what it says, and the kit."""

import json
from pathlib import Path

import pytest
from running_stack import RunningStack

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


def test_a_backup_by_hand_is_listed_proven_and_said_to_be_on_one_disk(stack: RunningStack, tmp_path: Path):
    done = stack.slipway("backup", "now", "--dumps")
    assert done.returncode == 0, done.stdout + done.stderr
    (taken,) = [json.loads(line) for line in stack.slipway("backup", "list", "--json").stdout.splitlines()][-1:]
    assert taken["state"] == "done" and taken["encryption"] == "bucket" and taken["page_checksums"]
    shown = stack.slipway("backup", "status")
    assert shown.returncode == 1 and "a copy where another disk fails" in shown.stdout
    assert "barman-cloud 3.19.1" in shown.stdout and "gaps: none" in shown.stdout
    (entry,) = [
        json.loads(line)
        for line in stack.slipway("ledger", "show", "--kind", "backup.taken", "--json").stdout.splitlines()
    ][-1:]
    assert entry["data"]["manifest_sha256"] == taken["manifest_sha256"]


def test_a_kit_is_written_once_and_a_wrong_hold_says_what_there_is(stack: RunningStack, tmp_path: Path):
    first, again = (stack.slipway("backup", "kit", str(tmp_path / "kit")) for _ in range(2))
    assert first.returncode == 0 and again.returncode == 1 and "never written over" in again.stderr
    refused = stack.slipway("backup", "hold", "nothere", "--reason", "x")
    assert refused.returncode == 1 and "No finished backup 'nothere'" in refused.stderr
