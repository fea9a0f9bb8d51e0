"""Which versions may touch an installation, and how many copies are kept."""

import json
from dataclasses import asdict
from pathlib import Path

from deployments.upgrading.copy import KEPT, Copy, list_copies, prune_copies
from deployments.upgrading.version import find_prefect_obstacle, own_prefect, read_version, record_version


def test_an_older_prefect_is_refused_and_a_newer_one_is_an_upgrade() -> None:
    assert find_prefect_obstacle("", "3.8.8", upgrading=False) == ""
    assert find_prefect_obstacle("3.8.8", "3.8.8", upgrading=False) == ""
    assert "slipway upgrade" in find_prefect_obstacle("3.8.8", "3.10.0", upgrading=False)
    assert find_prefect_obstacle("3.8.8", "3.10.0", upgrading=True) == ""
    for upgrading in (False, True):
        assert "a way back" in find_prefect_obstacle("3.10.0", "3.8.8", upgrading=upgrading)


def test_what_runs_is_written_down(tmp_path: Path) -> None:
    assert read_version(tmp_path) == {}
    record_version(tmp_path, code="abc")
    assert read_version(tmp_path) == {"code": "abc", "prefect": own_prefect()}


def test_the_newest_copies_are_kept_and_nothing_half_made(tmp_path: Path) -> None:
    for hour in range(KEPT + 2):
        copy = Copy(f"20261123T{hour:02}0000Z", "abc", "3.8.8", head=hour, size_bytes=1)
        copy.folder(tmp_path).mkdir(parents=True)
        (copy.folder(tmp_path) / "copy.json").write_text(json.dumps(asdict(copy)))
    (tmp_path / "upgrades" / ".20261123T090000Z").mkdir()
    (tmp_path / "upgrades" / "20261123T100000Z").mkdir()  # not whole: it has no copy.json, and nobody lists it
    prune_copies(tmp_path)
    assert [copy.head for copy in list_copies(tmp_path)] == [2, 3, 4]
    assert not list((tmp_path / "upgrades").glob(".*"))
