"""A pushed commit reaches production, or is refused, or comes back: on a real Prefect server and worker."""

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from forge_api import ForgeApi
from journey import NAME, PUSHER, Journey, Visitors, until
from running_stack import RunningStack

from domain.ledger import verify_chain
from domain.ports import ForgeAccess
from domain.release import short

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def journey(stack: RunningStack) -> Generator[Journey]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-journey-"))
    journey = Journey(stack, folder)
    yield journey
    journey.world.close()
    shutil.rmtree(folder)


@pytest.fixture
def forge() -> Generator[ForgeApi]:
    with ForgeApi().serving() as forge:
        yield forge


@pytest.fixture(scope="module")
def first(journey: Journey) -> str:
    """The first release of all, approved on the sixth answer: every answer that does not count came before."""
    release = journey.deliver("first")
    run, key = journey.wait_gate(release)
    assert journey.answer(run, decision="maybe", code="123456")["status"] == "REJECT", "checked by the server"
    wrong = [
        {"approver": "ann", "code": "000000"},
        {"approver": "nobody", "code": "123456"},
        {"approver": PUSHER, "code": journey.code(PUSHER)},
    ]
    for given in wrong:
        assert journey.answer(run, **given)["status"] == "ACCEPT"
        _, key = journey.wait_gate(release, after=key)
    bypass = {"state": {"type": "SCHEDULED", "name": "Resuming"}, "force": False}
    journey.stack.prefect("POST", f"/flow_runs/{run}/set_state", json=bypass)
    journey.wait_gate(release, after=key)
    # another test may have brought something live before: then this is a canary, and takes visitors to be judged
    with Visitors(journey.stack.installation.ports["entry-production-alpha"]).visiting():
        assert journey.answer(run, code=journey.code("ann"))["status"] == "ACCEPT"
        journey.wait("rollout.completed", release=release, environment="production")
    return release


def test_answers_that_do_not_count_are_refused_with_the_reason_recorded_and_asked_again(
    journey: Journey, first: str
) -> None:
    refused = journey.entries("approval.refused", release=first)[::-1]
    assert [entry.data["refusal"] for entry in refused] == ["wrong", "unknown", "self", "bypassed"]
    assert all(entry.data["reason"] for entry in refused)
    (granted,) = journey.entries("approval.granted", release=first)
    assert (granted.event.actor, granted.data["comment"]) == ("ann", "from the tests")
    assert len(journey.entries("approval.requested", release=first)) == 1, "one deadline for all askings"


def test_the_first_release_is_live_on_both_sites_and_in_every_environment_before(journey: Journey, first: str) -> None:
    assert journey.is_wholly_on(first)
    assert journey.serving("main", environment="test") == {short(first): 100}
    assert journey.serving("main", environment="staging") == {short(first): 100}
    shifted = [entry.event.site for entry in journey.entries("site.switched", release=first, environment="production")]
    assert shifted == ["alpha", "beta"], "newest first: the standby went first"


def test_the_same_delivery_twice_starts_one_run(journey: Journey, first: str) -> None:
    sha = journey.commit("twice")
    assert [journey.push(sha, delivery="the-same").status_code for _ in range(2)] == [202, 202]
    release = journey.wait_release(sha)
    journey.approve(release, decision="reject")
    run = journey.entries("cd.started", release=release)[0].event.run
    assert journey.wait_end(run)["name"] == "Rejected"
    assert len({entry.event.run for entry in journey.entries("ci.started") if sha in str(entry.data)}) == 1
    assert journey.is_wholly_on(first)


def test_a_good_release_takes_all_traffic_no_request_is_lost_and_the_forge_shows_each_stage(
    journey: Journey, first: str, forge: ForgeApi
) -> None:
    journey.world.applications.set_forge_access(NAME, ForgeAccess(forge.url, forge.token))
    release = journey.deliver("good")
    port = journey.stack.installation.ports["entry-production-alpha"]
    with Visitors(port).visiting() as visitors:
        run = journey.approve(release)
        state = journey.wait_end(run)
    assert state["type"] == "COMPLETED", state
    assert visitors.failed_outside("") == {}
    assert visitors.answers[release, 200] > 50 and visitors.answers[first, 200] > 50
    assert journey.is_wholly_on(release)
    until(lambda: ("slipway/production", "success") in forge.shown, limit_s=20, what="the forge's last status")
    assert forge.newest == dict.fromkeys(
        ("slipway/ci", "slipway/test", "slipway/staging", "slipway/production"), "success"
    )
    assert ("slipway/ci", "pending") in forge.shown and ("slipway/production", "pending") in forge.shown
    journey.world.applications.set_forge_access(NAME, None)
    assert {entry.data["verdict"] for entry in journey.entries("verdict.given", run=run)} == {"PASS"}


def test_a_bad_release_is_rolled_back_by_itself_blocked_and_nobody_else_was_harmed(
    journey: Journey, first: str
) -> None:
    live = journey.entries("rollout.completed", environment="production")[0].event.release
    # every eighth: seldom enough for the few requests of the tests before, which would stop it there
    bad = journey.deliver("bad", FAILS_EVERY=8, SLEEP_S=0.2)
    port = journey.stack.installation.ports["entry-production-alpha"]
    with Visitors(port).visiting() as visitors:
        run = journey.approve(bad)
        state = journey.wait_end(run)
    assert (state["type"], state["name"]) == ("FAILED", "RolledBack"), state
    assert visitors.failed_outside(bad) == {}
    assert journey.is_wholly_on(live)
    (back,) = journey.entries("rollout.rolled_back", release=bad)
    assert (back.data["to"], back.data["verified"]) == (live, "yes")
    assert journey.entries("digest.blocked", release=bad) and journey.entries("incident.opened", release=bad)
    again = journey.start_cd(bad)
    assert "is blocked" in journey.wait_end(again)["message"]
    mailbox = journey.stack.state / "mailbox"
    assert any(short(live) in path.read_text() for path in mailbox.iterdir())


def test_what_changed_since_the_asking_is_asked_anew(journey: Journey, first: str) -> None:
    release = journey.deliver("overtaken")
    run, key = journey.wait_gate(release)
    done = journey.stack.slipway(
        *("rollback", NAME, "--as", "ann", "--reason", "the tests go back", "--code", journey.code("ann"))
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert journey.answer(run, code=journey.code("ann"))["status"] == "ACCEPT"
    _, key = journey.wait_gate(release, after=key)
    assert journey.entries("approval.refused", release=release)[0].data["refusal"] == "drift"
    assert journey.answer(run, decision="reject", code=journey.code("ann"))["status"] == "ACCEPT"
    assert journey.wait_end(run)["name"] == "Rejected"


def test_silence_is_no_and_is_recorded_though_no_process_is_left(journey: Journey, first: str) -> None:
    release = journey.deliver("silence", settings={"approval_limit_s": "10"})
    expired = journey.wait("approval.expired", release=release, limit_s=180)
    assert "nobody answered" in expired.data["reason"]
    assert journey.entries("rollout.begun", release=release, environment="production") == []


def test_a_release_that_never_becomes_healthy_leaves_the_old_one_untouched(journey: Journey, first: str) -> None:
    before = {site: journey.serving(site) for site in ("alpha", "beta")}
    release = journey.deliver("sick", IS_HEALTHY=False)
    run = journey.wait("cd.started", release=release).event.run
    state = journey.wait_end(run)
    assert state["type"] == "FAILED" and "cannot read its configuration" in state["message"], state
    assert {site: journey.serving(site) for site in ("alpha", "beta")} == before
    assert short(release) not in journey.serving("main", environment="test")


def test_too_little_traffic_asks_a_person(journey: Journey, first: str) -> None:
    release = journey.deliver("unseen")
    run = journey.approve(release)
    asked = journey.wait("verdict.given", release=release, environment="production")
    assert asked.data["verdict"] == "UNCLEAR"
    _, key = journey.wait_gate(release, after="production-1-1")
    assert key.startswith("unclear")
    assert short(release) in journey.serving("alpha"), "the share is held"
    journey.answer(run, decision="rollback", code=journey.code("ann"))
    assert journey.wait_end(run)["name"] == "RolledBack"
    assert short(release) not in journey.serving("alpha")


def test_at_the_end_the_chain_holds_and_nothing_is_left_open(journey: Journey, first: str) -> None:
    entries = journey.world.ledger.entries(limit=100_000)
    assert verify_chain(entries).broken_at is None
    assert journey.world.leases.held() == []
    assert journey.stack.slipway("ledger", "verify").returncode == 0
    story = journey.stack.slipway("history", first[:10])
    assert story.returncode == 0 and "approval.granted" in story.stdout
