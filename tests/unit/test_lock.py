"""Lock files: what pip is given is what was parsed, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ConfigError
from domain.lock import Lock, merge_locks, parse_lock

HASH = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
ROOT = Path(__file__).parents[2]


def test_tools_own_output_is_read_whole():
    for path in [*ROOT.glob("requirements/*.txt"), *ROOT.glob("examples/*/requirements*.lock")]:
        text = path.read_text()
        lock = parse_lock(text, file=path.name)
        named = [line for line in text.splitlines() if line[:1].isalnum()]
        assert len(lock.packages) == len(named) > 0
        assert parse_lock(lock.text, file="again") == lock


def test_the_order_of_lines_and_hashes_does_not_matter():
    first = parse_lock(f"b==1 --hash={HASH} --hash={OTHER}\na==2 --hash={HASH}", file="x")
    second = parse_lock(
        f"a==2 \\\n    --hash={HASH}\n# why\nb==1 \\\n  --hash={OTHER} \\\n  --hash={HASH}  # via a", file="x"
    )
    assert first == second and first.text == f"a==2 --hash={HASH}\nb==1 --hash={HASH} --hash={OTHER}\n"


def test_extras_and_markers_pass():
    lock = parse_lock(f'psycopg[binary, pool]==3.2 ; python_version < "3.13" --hash={HASH}', file="x")
    assert lock.packages[0].requirement == 'psycopg[binary,pool]==3.2 ; python_version < "3.13"'


def test_addresses_of_registries_are_left_to_the_machine():
    assert parse_lock("--index-url https://elsewhere/simple\n-i https://x\n--find-links /y\n", file="x") == Lock()


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "-c constraints.txt",
        "-e .",
        "--requirement=/etc/shadow",
        "./wheel.whl",
        "/abs/wheel.whl",
        f"x @ https://elsewhere/x.whl --hash={HASH}",
        f"x @ file:///etc/passwd --hash={HASH}",
        f"git+https://elsewhere/x --hash={HASH}",
        f"x>=1 --hash={HASH}",
        f"x==1.* --hash={HASH}",
        f"x===1 --hash={HASH}",
        f"x==1 --config-settings=a=b --hash={HASH}",
        f'x==1 ; python_version > "3" --global-option=a --hash={HASH}',
        f"--hash={HASH}",
        "x==1 --hash=md5:abc",
        "{not a requirement}",
    ],
)
def test_anything_else_is_refused_with_its_line(line: str):
    with pytest.raises(ConfigError, match=r"dev\.lock, line 2"):
        parse_lock(f"# first\n{line}\n", file="dev.lock")


def test_a_package_without_a_hash_is_refused():
    with pytest.raises(ConfigError, match="Lock it with hashes"):
        parse_lock("x==1", file="x")


@given(st.text(max_size=200))
def test_what_pip_is_given_holds_no_option_but_hashes(text: str):
    try:
        lock = parse_lock(text, file="x")
    except ConfigError:
        return
    for line in lock.text.splitlines():
        assert not [word for word in line.split() if word.startswith("-") and not word.startswith("--hash=sha256:")]


def test_of_two_locks_the_second_wins():
    base = parse_lock(f"my-lib==1 --hash={HASH}\nother==1 --hash={HASH}", file="x")
    over = parse_lock(f"My_Lib==2 --hash={OTHER}", file="y")
    merged = merge_locks(base, over)
    assert [package.requirement for package in merged.packages] == ["My_Lib==2", "other==1"]
