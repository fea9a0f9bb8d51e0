"""What a superuser of the database can do to the ledger, and how `slipway ledger verify` and an export show it.

Every attack is made on a real PostgreSQL, past the triggers; anchors lie on a real SeaweedFS under Object Lock.
"""

import hashlib
import io
import json
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_door import free_port
from fixtures_s3 import s3_account
from typer.testing import CliRunner

from blocks.anchors_s3 import S3Anchors
from blocks.bucket import Account
from blocks.installation import Installation
from blocks.ledger_postgres import PostgresLedger
from blocks.memory_world import MemoryWorld
from blocks.postgres_session import PostgresSession
from blocks.world import use_world
from deployments.commands.ledger import app
from deployments.verify_export import FILES
from domain.ledger import Event, Link, hash_encoded
from tasks.anchor import write_anchor

VERIFIER = Path(__file__).parents[2] / "deployments" / "verify_export.py"
Superuser = Callable[..., list[Any]]


@pytest.fixture
def world(ledger_session: PostgresSession, s3: Installation) -> Generator[MemoryWorld]:
    """A world with a real ledger of ten entries, two of them about anchors: entries 5 and 9 are anchored."""
    world = MemoryWorld()
    world.ledger = PostgresLedger(ledger_session)  # pyright: ignore[reportAttributeAccessIssue]
    # a folder of its own: nothing can be removed between tests
    folder = f"{secrets.token_hex(4)}/"
    world.anchors = S3Anchors(s3_account(s3, "s3_anchor"), folder=folder)  # pyright: ignore[reportAttributeAccessIssue]
    use_world(lambda: world)
    for n in range(1, 5):
        world.ledger.append(Event(kind="ci.started", key=f"k{n}", data={"n": n}))
    write_anchor.fn("run-1")  # begun is 5, written is 6
    for n in (7, 8):
        world.ledger.append(Event(kind="ci.started", key=f"k{n}", data={"n": n, "text": "汉"}))
    write_anchor.fn("run-2")
    yield world
    use_world(None)


@pytest.fixture
def superuser(ledger_url: str) -> Generator[Superuser]:
    """Runs statements past every trigger."""
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield lambda statement, *values: (c := connection.execute(statement, values)).description and c.fetchall()


def verify() -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


def rewrite(superuser: Superuser, ledger: PostgresLedger, first: int) -> None:
    """Compute every hash anew from an entry on, as somebody would who knows how."""
    prev_hash = ""
    for link in list(ledger.links()):
        if link.seq >= first:
            new = hash_encoded(prev_hash, link.encoded)
            superuser("UPDATE ledger.event SET prev_hash = %s, hash = %s WHERE seq = %s", prev_hash, new, link.seq)
            link = Link(link.seq, link.encoded, prev_hash, new)
        prev_hash = link.hash


def change_actor(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("UPDATE ledger.event SET actor = 'eve' WHERE seq = 3")


def change_data(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("""UPDATE ledger.event SET data = '{"n":33}' WHERE seq = 3""")


def change_white_space_of_data(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("""UPDATE ledger.event SET data = '{"n": 3}' WHERE seq = 3""")


def give_data_a_key_twice(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("""UPDATE ledger.event SET data = '{"n":9,"n":3}' WHERE seq = 3""")


def change_key(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("UPDATE ledger.event SET key = 'other' WHERE seq = 3")


def forget_key(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("UPDATE ledger.event SET key = NULL WHERE seq = 3")


def change_time(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("UPDATE ledger.event SET at = at + interval '1 microsecond' WHERE seq = 3")


def change_time_to_no_time(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("UPDATE ledger.event SET at = 'infinity' WHERE seq = 3")


def change_time_to_before_christ(superuser: Superuser, world: MemoryWorld) -> None:
    superuser(
        "UPDATE ledger.event SET at = (to_char(at, 'YYYY-MM-DD HH24:MI:SS.US') || '+00 BC')::timestamptz WHERE seq = 3"
    )


def change_with_its_own_hash(superuser: Superuser, world: MemoryWorld) -> None:
    change_actor(superuser, world)
    link = list(world.ledger.links())[2]
    superuser("UPDATE ledger.event SET hash = %s WHERE seq = 3", hash_encoded(link.prev_hash, link.encoded))


def remove_one(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("DELETE FROM ledger.event WHERE seq = 3")


def remove_one_and_close_the_gap(superuser: Superuser, world: MemoryWorld) -> None:
    remove_one(superuser, world)
    for seq in range(4, 11):
        superuser("UPDATE ledger.event SET seq = seq - 1 WHERE seq = %s", seq)


def insert_one(superuser: Superuser, world: MemoryWorld) -> None:
    for seq in range(10, 2, -1):
        superuser("UPDATE ledger.event SET seq = seq + 1 WHERE seq = %s", seq)
    superuser(
        "INSERT INTO ledger.event SELECT 3, at, 'approval.granted', application, environment, site, release, 'eve',"
        " run, 'eve', data, prev_hash, 'e' FROM ledger.event WHERE seq = 2"
    )
    first, second = list(world.ledger.links())[1:3]
    new = hash_encoded(first.hash, second.encoded)
    superuser("UPDATE ledger.event SET prev_hash = %s, hash = %s WHERE seq = 3", first.hash, new)


def insert_before_the_first(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("UPDATE ledger.event SET seq = 0, key = 'eve' WHERE seq = 10")


def cut_tail(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("DELETE FROM ledger.event WHERE seq > 7")


def empty(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("TRUNCATE ledger.event")


def rewrite_from_the_third(superuser: Superuser, world: MemoryWorld) -> None:
    change_actor(superuser, world)
    rewrite(superuser, world.ledger, 3)  # pyright: ignore[reportArgumentType]


def rewrite_after_the_first_anchor(superuser: Superuser, world: MemoryWorld) -> None:
    superuser("UPDATE ledger.event SET actor = 'eve' WHERE seq = 7")
    rewrite(superuser, world.ledger, 7)  # pyright: ignore[reportArgumentType]


def cut_tail_and_go_on(superuser: Superuser, world: MemoryWorld) -> None:
    cut_tail(superuser, world)
    for n in range(8, 15):
        world.ledger.append(Event(kind="ci.started", key=f"again {n}"))


ATTACKS: list[tuple[Callable[[Superuser, MemoryWorld], None], int, str]] = [
    (change_actor, 3, "entry 3 does not match its own hash"),
    (change_data, 3, "entry 3 does not match its own hash"),
    (change_white_space_of_data, 3, "entry 3 does not match its own hash"),
    (give_data_a_key_twice, 3, "entry 3 does not match its own hash"),
    (change_key, 3, "entry 3 does not match its own hash"),
    (forget_key, 3, "entry 3 does not match its own hash"),
    (change_time, 3, "entry 3 does not match its own hash"),
    (change_time_to_no_time, 3, "entry 3 does not match its own hash"),
    (change_time_to_before_christ, 3, "entry 3 does not match its own hash"),
    (change_with_its_own_hash, 3, "entry 3 was replaced: entry 4 continues another one"),
    (remove_one, 3, "entry 3 is missing; the next one there is 4"),
    (remove_one_and_close_the_gap, 3, "entry 3 does not match its own hash"),
    (insert_one, 4, "entry 4 does not match its own hash"),
    (insert_before_the_first, 0, "entry 0 is there twice, or has no place in the chain"),
    (cut_tail, 8, "entry 8 is missing: the ledger ends at 7, but its head was entry 9 on"),
    (empty, 1, "entry 1 is missing: the ledger ends at 0, but its head was entry 9 on"),
    (rewrite_from_the_third, 5, "computed anew from some entry after the beginning"),
    (
        rewrite_after_the_first_anchor,
        9,
        "computed anew from some entry after entry 5, the last that an anchor confirms",
    ),
    (cut_tail_and_go_on, 9, "computed anew from some entry after entry 5, the last that an anchor"),
]


@pytest.mark.parametrize(("attack", "seq", "found"), ATTACKS, ids=[attack.__name__ for attack, _, _ in ATTACKS])
def test_what_a_superuser_did_is_found_and_named(
    world: MemoryWorld, superuser: Superuser, attack: Callable[..., None], seq: int, found: str
):
    assert verify()[0] == 0
    attack(superuser, world)
    code, output = verify()
    assert code == 1
    assert f"broken at entry {seq}: " in output and found in output, output
    assert "find out who" in output


def test_a_whole_ledger_says_how_far_anchors_confirm_it(world: MemoryWorld):
    code, output = verify()
    assert code == 0
    assert "The chain holds: 10 entries" in output
    assert "agrees with 2 anchors, the newest of entry 9" in output and "the 1 entries since" in output


def test_anchors_that_cannot_be_read_are_said_with_how_far_the_chain_alone_holds(world: MemoryWorld):
    world.anchors = S3Anchors(Account(f"http://127.0.0.1:{free_port()}", "a", "b"))  # pyright: ignore[reportAttributeAccessIssue]
    code, output = verify()
    assert code == 2
    assert "The chain holds: 10 entries" in output and "the anchors can't be read. S3 did not" in output


def test_another_bucket_in_the_place_of_the_true_one_is_noticed(world: MemoryWorld, s3: Installation):
    world.anchors = S3Anchors(s3_account(s3, "s3_anchor"), folder="another/")  # pyright: ignore[reportAttributeAccessIssue]
    code, output = verify()
    assert code == 1
    assert "the ledger says that entry 9 was anchored" in output


# exports ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(world: MemoryWorld, tmp_path: Path) -> Path:
    path = tmp_path / "ledger.tar.gz"
    done = CliRunner().invoke(app, ["export", str(path)])
    assert done.exit_code == 0, done.output
    assert path.stat().st_mode & 0o777 == 0o600
    return path


def check(bundle: Path, *words: str, script: Path = VERIFIER) -> tuple[int, str]:
    """Run the script as a stranger would: no site, no environment, none of our code on the path."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), str(bundle), *words],
        capture_output=True, text=True, cwd=bundle.parent, env={}, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def read(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as archive:
        return {Path(one.name).name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]


def write(bundle: Path, files: dict[str, bytes], *, honest: bool = False) -> None:
    """Write a bundle; its manifest made to fit unless the forger was lazy (`honest`: the true manifest stays)."""
    if not honest:
        lines = files["events.jsonl"].splitlines()
        head = json.loads(lines[-1])["hash"] if lines else "0" * 64
        manifest = json.loads(files["manifest.json"]) | {"entries": len(lines), "head": head}
        manifest["anchors"] = len(files["anchors.jsonl"].splitlines())
        manifest["sha256"] = {
            name: hashlib.sha256(files[name]).hexdigest() for name in FILES - {"manifest.json"} if name in files
        }
        files = files | {"manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(bundle, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"x/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_a_true_bundle_is_confirmed_by_the_script_that_it_brings(bundle: Path, tmp_path: Path):
    script = tmp_path / "brought.py"
    script.write_bytes(read(bundle)["verify_export.py"])
    code, output = check(bundle, script=script)
    assert code == 0, output
    assert "The chain holds: 10 entries" in output and "agrees with 2 anchors" in output
    head = json.loads(read(bundle)["manifest.json"])["head"]
    assert check(bundle, "--head", f"10:{head}")[0] == 0
    assert check(bundle, "--head", f"10:{'0' * 64}")[0] == 1


def test_the_script_is_for_python_39_and_its_library_alone():
    import ast

    tree = ast.parse(VERIFIER.read_text(), feature_version=(3, 9))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names)
    assert "tomllib" not in names and not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda events: events.replace(old, new, 1)


def without(*numbers: int) -> Callable[[bytes], bytes]:
    return lambda events: b"".join(
        line for number, line in enumerate(events.splitlines(keepends=True), start=1) if number not in numbers
    )


def twice(events: bytes) -> bytes:
    lines = events.splitlines(keepends=True)
    return b"".join([*lines[:3], lines[2], *lines[3:]])


def swapped(events: bytes) -> bytes:
    lines = events.splitlines(keepends=True)
    return b"".join([*lines[:2], lines[3], lines[2], *lines[4:]])


def anew(events: bytes, *, old: bytes = b'"k3"', new: bytes = b'"eve"') -> bytes:
    """The whole chain computed anew, as somebody would who knows how."""
    last, lines = "0" * 64, []
    for line in events.replace(old, new, 1).splitlines():
        encoded = line[len('{"entry":') : line.rindex(b',"hash":"')].decode()
        hash = hash_encoded(last, encoded)
        lines.append(f'{{"entry":{encoded},"hash":"{hash}","prev_hash":"{last}"}}\n'.encode())
        last = hash
    return b"".join(lines)


FORGERIES: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("changed", replaced(b'"k3"', b'"eve"'), "entry 3 does not match its own hash"),
    ("white space", replaced(b'"n":3', b'"n": 3'), "entry 3 does not match its own hash"),
    ("removed", without(3), "entry 3 is missing: entry 4 stands in its place"),
    ("removed first", without(1), "entry 1 is missing"),
    ("cut tail", without(8, 9, 10), "entry 8 is missing: the tail was cut; an anchor knows entry 9"),
    ("emptied", lambda events: b"", "entry 1 is missing: the tail was cut"),
    ("inserted", twice, "entry 4 is missing: entry 3 stands in its place"),
    ("swapped", swapped, "entry 3 is missing: entry 4 stands in its place"),
    ("computed anew", anew, "entry 5 is not the one that was anchored"),
    ("another form", replaced(b'{"entry":', b'{ "entry":'), "entry 1 is not a line of the form"),
]


@pytest.mark.parametrize(("forge", "found"), [(f, t) for _, f, t in FORGERIES], ids=[name for name, _, _ in FORGERIES])
def test_a_forged_bundle_is_refused_and_named(bundle: Path, forge: Callable[[bytes], bytes], found: str):
    files = read(bundle)
    forged = files | {"events.jsonl": forge(files["events.jsonl"])}
    write(bundle, forged)
    code, output = check(bundle)
    assert code == 1 and found in output, output
    write(bundle, forged, honest=True)
    assert check(bundle)[0] == 1


def test_a_bundle_computed_anew_with_its_anchors_is_refused_by_the_head_noted_elsewhere(bundle: Path):
    files = read(bundle)
    head = json.loads(files["manifest.json"])["head"]
    events = anew(files["events.jsonl"])
    hashes = {number: json.loads(line)["hash"] for number, line in enumerate(events.splitlines(), start=1)}
    anchors = [json.loads(line) for line in files["anchors.jsonl"].splitlines()]
    forged = "".join(json.dumps({**anchor, "hash": hashes[anchor["seq"]]}) + "\n" for anchor in anchors)
    write(bundle, files | {"events.jsonl": events, "anchors.jsonl": forged.encode()})
    assert check(bundle)[0] == 0, "what the documentation says of it"
    code, output = check(bundle, "--head", f"10:{head}")
    assert code == 1 and "entry 10 is not the one" in output


@pytest.mark.parametrize("name", sorted(FILES - {"events.jsonl"}))
def test_any_other_file_that_was_changed_is_named(bundle: Path, name: str):
    files = read(bundle)
    write(bundle, files | {name: files[name] + b"\n#"}, honest=True)
    assert check(bundle)[0] in (1, 2)


def test_fewer_or_more_files_or_half_of_them_are_no_bundle(bundle: Path, tmp_path: Path):
    files = read(bundle)
    write(bundle, files | {"more": b""}, honest=True)
    assert check(bundle) == (1, "BROKEN: the bundle holds 'x/more', which does not belong there.\n")
    write(bundle, {name: content for name, content in files.items() if name != "anchors.jsonl"}, honest=True)
    assert check(bundle) == (1, "BROKEN: the bundle lacks anchors.jsonl.\n")
    write(bundle, files)
    (tmp_path / "half").write_bytes(bundle.read_bytes()[: bundle.stat().st_size // 2])
    assert check(tmp_path / "half")[0] == 2
    assert check(tmp_path / "nothing")[0] == 2


def test_an_export_overwrites_nothing_and_refuses_a_broken_chain(
    world: MemoryWorld, superuser: Superuser, bundle: Path, tmp_path: Path
):
    before = bundle.read_bytes()
    assert "exists" in str(CliRunner().invoke(app, ["export", str(bundle)]).exception)
    assert bundle.read_bytes() == before
    change_actor(superuser, world)
    done = CliRunner().invoke(app, ["export", str(tmp_path / "other.tar.gz")])
    assert "broken at entry 3" in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.tar.gz"]


def test_an_export_without_anchors_says_so_in_itself(world: MemoryWorld, tmp_path: Path):
    world.anchors = S3Anchors(Account(f"http://127.0.0.1:{free_port()}", "a", "b"))  # pyright: ignore[reportAttributeAccessIssue]
    done = CliRunner().invoke(app, ["export", str(tmp_path / "x.tar.gz")])
    assert done.exit_code == 0 and "Without anchors" in done.output
    code, output = check(tmp_path / "x.tar.gz")
    assert code == 0 and "could not be read at the export" in output
