"""Reading the output of test tools, on output that they really printed."""

import subprocess
import sys
from pathlib import Path

import pytest

from domain.check import CheckResult, Failure, explain_build, explain_check, find_first_failure, first_red

PYTEST = """
def test_good(): pass

def test_first():
    figure = 41
    assert figure == 42, "the first reason"

def test_second():
    raise ValueError("the second reason")
"""
UNITTEST = """
import unittest

class Sums(unittest.TestCase):
    def test_a(self):
        self.assertEqual(1, 2, "the first reason")
    def test_b(self):
        raise ValueError("the second reason")
"""


def output_of(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("options", [(), ("-q",), ("-q", "--color=yes"), ("--tb=short",), ("-v",)])
def test_pytest_names_its_first_failure(tmp_path: Path, options: tuple[str, ...]):
    (tmp_path / "test_x.py").write_text(PYTEST)
    failure = find_first_failure(output_of(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", *options))
    assert failure.name == "test_x.py::test_first"
    text = "\n".join(failure.lines)
    assert "the first reason" in text and "the second reason" not in text and "\x1b" not in text


def test_pytest_names_a_module_that_cannot_be_imported(tmp_path: Path):
    (tmp_path / "test_x.py").write_text("import no_such_module\n")
    failure = find_first_failure(output_of(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider"))
    assert failure.name == "test_x.py" and any("no_such_module" in line for line in failure.lines)


def test_unittest_names_its_first_failure(tmp_path: Path):
    (tmp_path / "tests.py").write_text(UNITTEST)
    failure = find_first_failure(output_of(tmp_path, "-m", "unittest", "tests"))
    assert failure.name == "test_b (tests.Sums.test_b)" or failure.name == "test_a (tests.Sums.test_a)"
    assert sum(reason in "\n".join(failure.lines) for reason in ("the first reason", "the second reason")) == 1


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("=== RUN   TestA\n    a_test.go:5: wrong\n--- FAIL: TestA (0.00s)\nFAIL\n", "TestA"),
        ("test a::works ... ok\ntest a::fails ... FAILED\n\n---- a::fails stdout ----\npanicked\n", "a::fails"),
        ("ok 1 - fine\nnot ok 2 - adds up\n# expected 3\n", "adds up"),
        ("  ● sums › adds up\n\n    expect(received)\n", "sums › adds up"),
        ("Killed\n", ""),
        ("", ""),
    ],
)
def test_other_tools_name_theirs(output: str, name: str):
    failure = find_first_failure(output)
    assert failure.name == name
    assert failure.lines == () or any(line in output for line in failure.lines)


def test_credentials_of_addresses_are_not_shown():
    failure = find_first_failure("PIP_INDEX_URL=https://me:secret@index.example/simple\n")
    assert failure.lines == ("PIP_INDEX_URL=https://***@index.example/simple",)


def test_long_output_is_cut():
    failure = find_first_failure("\n".join(["x" * 10_000] * 1000))
    assert len(failure.lines) <= 30 and max(map(len, failure.lines)) <= 300


RED = CheckResult("unit", "unit", "failed", 1234, 1, "cause", Failure("t", ("```", "| a | b |")))


def test_the_first_red_check_is_chosen():
    green, skipped = CheckResult("a", "unit", "passed"), CheckResult("z", "integration", "skipped")
    assert first_red([green, RED, skipped]) is RED and first_red([green, skipped]) is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_cause_says_the_check_and_what_failed(language: str):
    def explain(outcome: str, failure: Failure) -> str:
        return explain_check(
            name="unit",
            outcome=outcome,  # pyright: ignore[reportArgumentType]
            exit_code=2,
            limit_s=7,
            failure=failure,
            language=language,  # pyright: ignore[reportArgumentType]
        )

    assert "unit" in explain("failed", Failure("test_x", ())) and "test_x" in explain("failed", Failure("test_x", ()))
    assert "2" in explain("failed", Failure("", ()))
    assert "7" in explain("timed_out", Failure("", ()))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_is_held_word_by_word(language: str):
    results = [
        CheckResult("build", "build", "passed", 12_000),
        CheckResult(
            "unit", "unit", "failed", 1234, 1, "cause", Failure("tests/a.py::test_b", ("assert 1 == 2", "```"))
        ),
        CheckResult("integration", "integration", "skipped"),
    ]
    report = explain_build(
        application="desk",
        commit="0123456789abcdef" * 2 + "01234567",
        results=results,
        cause="Check 'unit' failed: tests/a.py::test_b",
        requester="ann <script>",
        language=language,  # pyright: ignore[reportArgumentType]
    )
    assert report == (Path(__file__).parents[1] / f"golden/ci.{language}.md").read_text()
