"""Enrolling, changing, revoking and recovering people, by the functions and by the command line."""

import os
import pty
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlparse

import pyotp
import pytest
from typer.testing import CliRunner

from blocks.memory_world import MemoryWorld
from blocks.world import use_world
from deployments import enrolment
from deployments.commands.approver import app
from domain.errors import ConfigError, RefusedError
from domain.ports import Application, Approver


@pytest.fixture
def world() -> Generator[MemoryWorld]:
    world = MemoryWorld()
    for name in ("desk", "shop"):
        world.applications.add(Application(name, "gitea", f"team/{name}", "/x"), webhook_secret="s")
    use_world(lambda: world)
    yield world
    use_world(None)


def seed_of(uri: str) -> str:
    return parse_qs(urlparse(uri).query)["secret"][0]


def code_of(uri: str) -> str:
    return pyotp.TOTP(seed_of(uri)).at(datetime.now(UTC))


def everything_said(world: MemoryWorld) -> str:
    return f"{world.ledger.entries()} {world.notifier.messages}"


def test_every_change_is_recorded_and_told_and_no_seed_is(world: MemoryWorld):
    uri = enrolment.enrol(world, Approver("ann", ("approver:desk/production",), ("ann@example.org",)))
    enrolment.change(world, Approver("ann", ("administrator",), ("ann@example.org", "annlee")))
    new = enrolment.rotate(world, "ann", code=code_of(uri))
    enrolment.revoke(world, "ann", reason="left the team")
    kinds = [entry.kind for entry in world.ledger.entries() if entry.kind != "approver.begun"]
    assert kinds == ["approver.enrolled", "approver.roles_changed", "approver.rotated", "approver.revoked"]
    (revoked,) = world.ledger.entries(kinds=["approver.revoked"])
    assert (revoked.data["name"], revoked.data["reason"]) == ("ann", "left the team") and revoked.event.actor
    (changed,) = world.ledger.entries(kinds=["approver.roles_changed"])
    assert changed.data["removed"] == ["approver:desk/production"]
    assert len(world.notifier.messages) == 4
    for secret in (seed_of(uri), seed_of(new)):
        assert secret not in everything_said(world)
    assert world.approvers.list() == []


@pytest.mark.parametrize(
    ("approver", "words"),
    [
        (Approver("ann", ("owner",)), "No role named 'owner'"),
        (Approver("ann", ()), "has no role"),
        (Approver("ann", ("approver:dsek",)), "No application named 'dsek'"),
        (Approver("ann", ("approver:desk/prod",)), "No environment named 'prod'"),
        (Approver("a|b"), "is no name"),
        (Approver(""), "is no name"),
        (Approver("BOB"), "in common"),
        (Approver("robert", logins=("Bob@example.org",)), "in common"),
        (Approver("bob"), "enrolled already"),
    ],
)
def test_who_can_not_be_enrolled_is_told_why_and_nothing_is_changed(world: MemoryWorld, approver: Approver, words: str):
    enrolment.enrol(world, Approver("bob", logins=("bob@example.org",)))
    with pytest.raises(ConfigError, match=words):
        enrolment.enrol(world, approver)
    assert [one.name for one in world.approvers.list()] == ["bob"]
    assert len(world.ledger.entries(kinds=["approver.enrolled"])) == 1


class Team:
    """ann lost her device; bob is an administrator, cy and eve are approvers, dan is an administrator of staging."""

    def __init__(self, world: MemoryWorld) -> None:
        self.uris = {
            name: enrolment.enrol(world, Approver(name, roles, logins))
            for name, roles, logins in (
                ("ann", ("approver:desk/production",), ("ann@example.org",)),
                ("bob", ("administrator",), ()),
                ("cy", ("approver",), ()),
                ("dan", ("administrator:*/staging",), ()),
                ("eve", ("approver:shop",), ()),
            )
        }

    def confirmed(self, *names: str) -> list[tuple[str, str]]:
        return [(name, code_of(self.uris[name])) for name in names]


def test_two_others_confirm_a_lost_device_and_the_old_seed_ends_at_once(world: MemoryWorld):
    team = Team(world)
    new = enrolment.recover(world, "ann", confirmed=team.confirmed("bob", "cy"))
    assert world.approvers.use_code("ann", code_of(team.uris["ann"])).status == "wrong"
    assert world.approvers.use_code("ann", code_of(new)).status == "ok"
    (done,) = world.ledger.entries(kinds=["approver.recovered"])
    assert (done.data["confirmed_by"], done.event.actor) == (["bob", "cy"], "bob and cy")
    assert [entry.kind for entry in world.ledger.entries()][-2:] == ["recovery.authorised", "approver.recovered"]
    assert seed_of(new) not in everything_said(world)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (("bob",), "2 different people"),
        (("bob", "bob"), "2 different people"),
        (("bob", "cy", "eve"), "2 different people"),
        (("bob", "ann"), "can't confirm for themselves"),
        (("cy", "eve"), "administrator wherever"),
        (("dan", "cy"), "administrator wherever"),
    ],
)
def test_who_can_not_confirm_is_refused_recorded_and_the_seed_stays(
    world: MemoryWorld, by: tuple[str, ...], words: str
):
    team = Team(world)
    with pytest.raises(RefusedError, match=words):
        enrolment.recover(world, "ann", confirmed=team.confirmed(*by))
    (refused,) = world.ledger.entries(kinds=["recovery.refused"])
    assert refused.data["confirmed_by"] == list(by)
    assert world.approvers.use_code("ann", code_of(team.uris["ann"])).status == "ok"


def test_one_wrong_code_is_enough_to_refuse_and_both_codes_are_used_up(world: MemoryWorld):
    team = Team(world)
    with pytest.raises(RefusedError, match="wrong or too old"):
        enrolment.recover(world, "ann", confirmed=[("cy", "not-it"), *team.confirmed("bob")])
    with pytest.raises(RefusedError, match="used before"):
        enrolment.recover(world, "ann", confirmed=team.confirmed("bob", "cy"))
    assert world.ledger.entries(kinds=["approver.recovered"]) == []


def test_a_rotation_takes_a_code_of_the_old_seed(world: MemoryWorld):
    uri = enrolment.enrol(world, Approver("ann"))
    with pytest.raises(RefusedError, match="wrong or too old"):
        enrolment.rotate(world, "ann", code="not-it")
    assert world.approvers.use_code("ann", code_of(uri)).status == "ok"


def run(*words: str, given: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words), input=given)
    return done.exit_code, done.output + (f"{done.exception}" if done.exception else "")


def test_the_command_line_enrols_lists_changes_recovers_and_revokes(world: MemoryWorld):
    places = ("--application", "desk", "--environment", "production")
    code, said = run("add", "ann", "--role", "approver", *places, "--login", "ann@example.org", "--no-qr")
    assert code == 0 and said.startswith("otpauth://totp/Slipway:ann?secret=")
    uris = {name: run("add", name, "--role", "administrator", "--no-qr")[1].split()[0] for name in ("bob", "cy")}
    assert run("roles", "ann", "--login", "annlee")[0] == 0
    listed = run("list")[1]
    for word in ("ann", "desk, production", "everywhere", "annlee"):
        assert word in listed
    assert world.approvers.get("ann") == Approver("ann", ("approver:desk/production",), ("ann@example.org", "annlee"))
    given = f"cy\n{code_of(uris['bob'])}\n{code_of(uris['cy'])}\n"
    code, said = run("recover", "ann", "--by", "bob", "--no-qr", given=given)
    assert code == 0 and "otpauth://" in said, said
    assert run("revoke", "ann", "--reason", "left")[0] == 0
    code, said = run("revoke", "ann", "--reason", "left")
    assert code == 1 and "Enrolled: bob, cy" in said


def test_without_a_terminal_no_seed_is_printed_unless_it_was_asked_for_and_nothing_is_changed(world: MemoryWorld):
    code, said = run("add", "ann", "--login", "a@example.org")
    assert code == 1 and "no terminal" in said and "--no-qr" in said
    assert world.approvers.list() == [] and world.ledger.entries() == []


def test_on_a_terminal_a_qr_code_is_drawn_and_the_uri_is_not_printed():
    """A real terminal: a process on a pseudo-terminal, its world in memory."""
    script = (
        "from blocks.memory_world import MemoryWorld; from blocks.world import use_world\n"
        "world = MemoryWorld(); use_world(lambda: world)\n"
        "from deployments.commands.approver import app\n"
        "app(['add', 'ann', '--login', 'annlee'])\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:  # Linux's word for the end of a pseudo-terminal
            pass
    os.close(ours)
    assert process.returncode == 0, said
    assert said.decode().count("█") > 100 and b"Scan this" in said
    assert b"otpauth" not in said and b"secret=" not in said
