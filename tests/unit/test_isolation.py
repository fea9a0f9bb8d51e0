"""What a machine can't isolate is said; where nothing is missing nothing is said."""

from dataclasses import replace

import pytest

from domain.application import parse_application
from domain.check import CheckResult, explain_build
from domain.isolation import Isolation, explain_isolation, read_isolation

WHOLE = Isolation(user=True, filesystem=True, processes=True, network=True)
NOTHING = Isolation(user=False, filesystem=False, processes=False, network=False, reason="Install bubblewrap.")
FILE = """
[application]
name = "tiny"
[build]
commands = [["make"]]
network = {build}
[[check]]
name = "unit"
command = ["true"]
[[check]]
name = "far"
command = ["true"]
network = {check}
[service]
command = ["true"]
"""


def test_nothing_is_said_where_nothing_is_missing():
    assert explain_isolation(WHOLE, language="en") == ""
    assert explain_isolation(replace(WHOLE, user=False), language="en") == "", "namespaces hold without another user"


@pytest.mark.parametrize("kind", ["filesystem", "processes", "network"])
def test_what_is_missing_is_named_with_its_reason(kind: str):
    found = replace(WHOLE, **{kind: False}, reason="Because of this.")
    assert found.missing == (kind,)
    assert "Because of this." in explain_isolation(found, language="en")


def test_code_that_runs_as_slipway_itself_is_said_so():
    assert NOTHING.missing == ("user", "filesystem", "processes", "network")
    assert "a user of its own" in explain_isolation(NOTHING, language="en")


def test_it_survives_the_ledger():
    assert read_isolation(NOTHING.as_dict()) == NOTHING
    assert read_isolation({}).missing, "what nobody looked at was not isolated"


def test_the_report_says_it_before_the_results():
    results = [CheckResult("unit", "unit", "passed")]
    told = explain_isolation(NOTHING, language="en")
    report = explain_build(application="a", commit="c" * 40, results=results, notes=[told], language="en")
    assert report.index("Install bubblewrap.") < report.index("| unit |")


@pytest.mark.parametrize(("build", "check", "named"), [("false", "false", ()), ("true", "true", ("build", "far"))])
def test_who_asks_for_the_machine_s_network_is_named(build: str, check: str, named: tuple[str, ...]):
    assert parse_application(FILE.format(build=build, check=check)).names_with_network() == named
