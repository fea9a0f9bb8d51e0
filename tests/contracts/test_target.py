"""A target brings releases, verifies them, runs their instances and commands, and says what really runs."""

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from fixtures_target import FILES, SERVICE, TargetSite, ask, await_answers, spec_of, wait_until

from blocks.http_probe import probe
from blocks.identity import is_root
from blocks.memory_target import MemoryTarget
from domain.canonical import sha256_hex
from domain.errors import ConfigError, InvariantError, TransientError
from domain.ports import Target
from domain.release import Bundle, Manifest, bundle_key
from domain.service import Instance, Limits, Outcome

OTHER_FILES = {**FILES, "docs/readme.txt": "another\n"}


@dataclass
class Bench:
    """Two sites that share nothing but the machine; how to make a release, and how to change what is installed."""

    target: Target
    other_site: Target
    release: Callable[[Mapping[str, str]], Manifest]
    tamper: Callable[[Manifest, str], None]
    await_answers: Callable[[list[Instance]], None] = lambda instances: None


def _memory_bench() -> Bench:
    ports = itertools.count(20_000)
    target, other = MemoryTarget(ports=ports), MemoryTarget(ports=ports)
    target.answer = other.answer = lambda command: Outcome(
        exit_code=3 if "exit 3" in " ".join(command.command) else 0,
        seconds=0.01,
        tail=command.environment.get("WORD", ""),
    )

    def release(files: Mapping[str, str]) -> Manifest:
        sha256 = sha256_hex(json.dumps(dict(files)))
        manifest = Manifest(application="tiny", commit=sha256[:40], bundle=Bundle(sha256, 10))
        target.add(manifest, files)
        other.add(manifest, files)
        return manifest

    return Bench(target, other, release, tamper=lambda manifest, path: target.tamper(manifest.digest, path))


def _local_bench(site: TargetSite) -> Bench:
    def tamper(manifest: Manifest, path: str) -> None:
        with site.path(manifest, f"source/{path}").open("a") as file:
            file.write("changed")

    return Bench(site.target(), site.target("other"), site.release, tamper, await_answers)


@pytest.fixture(params=["memory", "local"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return _memory_bench() if request.param == "memory" else _local_bench(request.getfixturevalue("target_site"))


def test_a_prepared_release_is_whole_and_can_be_read(bench: Bench) -> None:
    manifest = bench.release(FILES)
    for _ in range(3):
        bench.target.prepare(manifest)
    bench.target.verify(manifest)
    assert bench.target.read_file(manifest, "docs/readme.txt") == "hello\n"


def test_what_is_not_prepared_is_refused_everywhere(bench: Bench) -> None:
    manifest = bench.release(FILES)
    for attempt in (
        lambda: bench.target.verify(manifest),
        lambda: bench.target.read_file(manifest, "service.py"),
        lambda: bench.target.start(spec_of(manifest)),
        lambda: bench.target.run(manifest, ["true"], environment={}, limit_s=5),
    ):
        with pytest.raises(ConfigError, match="Prepare it first"):
            attempt()


def test_a_release_whose_bytes_are_nowhere_is_refused(bench: Bench) -> None:
    nowhere = Manifest(application="tiny", commit="0" * 40, bundle=Bundle("1" * 64, 10))
    with pytest.raises(ConfigError, match="no such object"):
        bench.target.prepare(nowhere)
    with pytest.raises(ConfigError, match="Prepare it first"):
        bench.target.verify(nowhere)


def test_a_file_that_is_not_there_is_refused_by_name(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    with pytest.raises(ConfigError, match=r"no text file 'absent\.toml'"):
        bench.target.read_file(manifest, "absent.toml")


def test_a_tampered_release_neither_starts_nor_runs_and_the_file_is_named(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    bench.tamper(manifest, "service.py")
    for attempt in (
        lambda: bench.target.verify(manifest),
        lambda: bench.target.start(spec_of(manifest)),
        lambda: bench.target.run(manifest, ["true"], environment={}, limit_s=5),
    ):
        with pytest.raises(InvariantError, match=r"source/service\.py was changed"):
            attempt()
    assert bench.target.instances("tiny") == []


def test_preparing_a_tampered_release_again_hides_nothing(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    bench.tamper(manifest, "service.py")
    bench.target.prepare(manifest)
    with pytest.raises(InvariantError, match=r"source/service\.py was changed"):
        bench.target.verify(manifest)


def test_instances_are_started_once_however_often_one_asks(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    first = bench.target.start(spec_of(manifest))
    assert [instance.index for instance in first] == [0, 1]
    assert len({instance.url for instance in first}) == 2
    assert {(instance.application, instance.release) for instance in first} == {("tiny", manifest.digest)}
    again = bench.target.start(spec_of(manifest))
    assert [(instance.url, instance.pid) for instance in again] == [(one.url, one.pid) for one in first]
    assert [instance.url for instance in bench.target.instances("tiny")] == [instance.url for instance in first]


def test_a_changed_spec_is_applied_and_addresses_stay(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    two = bench.target.start(spec_of(manifest))
    three = bench.target.start(spec_of(manifest, instances=3))
    assert [instance.url for instance in three[:2]] == [instance.url for instance in two]
    assert len({instance.url for instance in three}) == 3
    one = bench.target.start(spec_of(manifest, instances=1))
    assert [instance.url for instance in one] == [two[0].url]


def addresses(instances: Iterable[Instance]) -> set[tuple[str, int | None]]:
    return {(instance.url, instance.pid) for instance in instances}


def test_scaled_out_new_instances_come_beside_those_that_stay_untouched(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    two = bench.target.start(spec_of(manifest))
    for _ in range(2):  # the second time changes nothing
        resized = bench.target.resize(spec_of(manifest, instances=4))
        assert len(resized.wanted) == 4 and resized.leaving == ()
        assert {one.url for one in two} < {one.url for one in resized.wanted}
    assert addresses(bench.target.instances("tiny")) >= addresses(two)
    bench.await_answers(bench.target.instances("tiny"))
    again = bench.target.start(spec_of(manifest, instances=4))
    assert addresses(again) == addresses(resized.wanted), "a rollout that comes by finds what it wants"


def test_scaled_in_nothing_ends_before_it_is_retired_and_the_rest_stays_untouched(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    three = bench.target.start(spec_of(manifest, instances=3))
    bench.await_answers(three)
    resized = bench.target.resize(spec_of(manifest, instances=1))
    assert (len(resized.wanted), len(resized.leaving)) == (1, 2)
    assert len(bench.target.instances("tiny")) == 3
    for _ in range(2):
        bench.target.retire("tiny", manifest.digest, [one.index for one in resized.leaving], drain_s=2)
    assert addresses(bench.target.instances("tiny")) == addresses(resized.wanted) <= addresses(three)


def test_with_other_limits_every_instance_comes_anew_beside_the_old_ones_and_the_limits_are_told(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    two = bench.target.start(spec_of(manifest))
    wanted = Limits(memory_bytes=300 * 1024**2)
    for _ in range(2):
        resized = bench.target.resize(spec_of(manifest, limits=wanted))
        assert {one.url for one in resized.leaving} == {one.url for one in two}
        assert len({one.url for one in (*resized.wanted, *resized.leaving)}) == 4
    wait_until(lambda: all(not wanted.differ_from(one.limits) for one in bench.target.instances("tiny")[2:]))
    bench.await_answers(bench.target.instances("tiny"))
    bench.target.retire("tiny", manifest.digest, [one.index for one in resized.leaving], drain_s=2)
    left = bench.target.instances("tiny")
    assert {one.url for one in left} == {one.url for one in resized.wanted}
    # and back, into the places that became free
    back = bench.target.resize(spec_of(manifest))
    assert {one.url for one in back.leaving} == {one.url for one in resized.wanted}
    bench.await_answers(bench.target.instances("tiny"))
    bench.target.stop("tiny", manifest.digest)
    assert bench.target.instances("tiny") == []


def test_what_runs_nowhere_used_no_processor(bench: Bench) -> None:
    assert bench.target.cpu_seconds("tiny", "f" * 64) == 0.0


def test_a_release_that_runs_nowhere_is_resized_to_what_is_wanted(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    resized = bench.target.resize(spec_of(manifest, instances=3))
    assert (len(resized.wanted), resized.leaving) == (3, ())
    bench.await_answers(list(resized.wanted))
    bench.target.retire("tiny", manifest.digest, [0, 1, 2, 99], drain_s=1)
    assert bench.target.instances("tiny") == []
    bench.target.retire("tiny", "f" * 64, [0], drain_s=1)


def test_releases_run_beside_each_other_and_stop_apart(bench: Bench) -> None:
    old, new = bench.release(FILES), bench.release(OTHER_FILES)
    for manifest in (old, new):
        bench.target.prepare(manifest)
        bench.target.start(spec_of(manifest))
    assert {instance.release for instance in bench.target.instances("tiny")} == {old.digest, new.digest}
    assert len({instance.url for instance in bench.target.instances("tiny")}) == 4
    bench.target.stop("tiny", old.digest)
    bench.target.stop("tiny", old.digest)
    assert {instance.release for instance in bench.target.instances("tiny")} == {new.digest}
    assert bench.target.instances("another") == []


def test_one_release_runs_beside_itself_with_other_settings(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    old, new = f"{manifest.digest}@1", f"{manifest.digest}@2"
    for revision in (old, new):
        bench.target.start(spec_of(manifest, release=revision, environment={"WORD": revision}))
    instances = bench.target.instances("tiny")
    assert [instance.release for instance in instances] == [old, old, new, new]
    assert len({instance.url for instance in instances}) == 4
    bench.target.log_tail("tiny", new)
    bench.target.stop("tiny", old)
    assert [instance.release for instance in bench.target.instances("tiny")] == [new, new]


def test_two_sites_run_one_release_apart(bench: Bench) -> None:
    manifest = bench.release(FILES)
    for target in (bench.target, bench.other_site):
        target.prepare(manifest)
        target.start(spec_of(manifest))
    urls = [instance.url for target in (bench.target, bench.other_site) for instance in target.instances("tiny")]
    assert len(set(urls)) == 4
    bench.target.stop("tiny", manifest.digest)
    assert bench.target.instances("tiny") == []
    assert len(bench.other_site.instances("tiny")) == 2


def test_a_command_runs_to_its_end_with_its_variables(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    done = bench.target.run(manifest, ["sh", "-c", "echo $WORD"], environment={"WORD": "hello"}, limit_s=20)
    assert (done.is_ok, done.tail) == (True, "hello")
    failed = bench.target.run(manifest, ["sh", "-c", "exit 3"], environment={}, limit_s=20)
    assert (failed.is_ok, failed.exit_code) == (False, 3)


def test_requirements_that_are_not_there_are_refused(bench: Bench) -> None:
    manifest = bench.release(FILES)
    bench.target.prepare(manifest)
    with pytest.raises(ConfigError, match=r"no text file 'acceptance\.lock'"):
        bench.target.run(manifest, ["true"], environment={}, limit_s=5, requirements="acceptance.lock")


# What only the real one can show.


def _running(site: TargetSite, files: Mapping[str, str] = FILES, **changes: object) -> Manifest:
    manifest = site.release(files)
    site.target().prepare(manifest)
    await_answers(site.target().start(spec_of(manifest, **changes)))
    return manifest


def test_an_instance_sees_its_own_variables_and_nothing_of_ours(
    target_site: TargetSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "ours alone")
    manifest = _running(target_site, environment={"DATABASE_URL": "secret ;#%(x)s 'quoted'", "LANG": "C"})
    (instance, _) = target_site.target().instances("tiny")
    seen = ask(instance)
    variables = seen["environment"]
    assert isinstance(variables, dict)
    assert variables["DATABASE_URL"] == "secret ;#%(x)s 'quoted'"
    assert variables["LANG"] == "C"
    assert instance.url == f"http://{variables['HOST']}:{variables['PORT']}"
    assert seen["arguments"] == [f"--port={variables['PORT']}"]
    assert seen["folder"] == str(target_site.path(manifest, "source"))
    allowed = {"PATH", "HOME", "TMPDIR", "LANG", "HOST", "PORT", "VIRTUAL_ENV", "DATABASE_URL", "LC_CTYPE", "PWD"}
    unexpected = {name for name in variables if not name.startswith(("PYTHON", "SUPERVISOR_", "SLIPWAY_"))} - allowed
    assert unexpected == set()


def test_secrets_are_in_no_command_line_and_in_no_file_that_others_read(target_site: TargetSite) -> None:
    _running(target_site, environment={"DATABASE_URL": "postgresql://a:very-secret@b"})
    lines = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "very-secret" not in lines
    state = target_site.installation.state
    readable = [path for path in state.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert not [path for path in readable if b"very-secret" in path.read_bytes()]


@pytest.mark.skipif(not is_root(), reason="only root can start children as other users")
def test_as_root_released_code_is_the_service_user_and_can_change_nothing(target_site: TargetSite) -> None:
    manifest = _running(target_site)
    user = ask(target_site.target().instances("tiny")[0])["user"]
    assert user != 0
    attempt = "touch {0}/source/x {0}/venv/x {0}/x {0}.json"
    folder = target_site.path(manifest, "")
    done = target_site.target().run(manifest, ["sh", "-c", attempt.format(folder)], environment={}, limit_s=10)
    assert not done.is_ok
    # in a sandbox below /tmp the fourth is a file of its own /tmp
    assert done.tail.count("touch: cannot touch") >= 3, done.tail
    assert not target_site.path(manifest, "x").exists()
    target_site.target().verify(manifest)


def test_a_killed_instance_comes_back_at_its_address(target_site: TargetSite) -> None:
    _running(target_site)
    before = target_site.target().instances("tiny")[0]
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: target_site.target().instances("tiny")[0].pid not in (None, before.pid))
    after = target_site.target().instances("tiny")[0]
    await_answers([after])
    assert after.url == before.url
    assert after.since is not None and before.since is not None and after.since >= before.since


def test_an_instance_of_a_tampered_release_does_not_come_back_and_says_why(target_site: TargetSite) -> None:
    """Supervisor restarts by itself, and after a reboot: these starts are verified as well."""
    manifest = _running(target_site, instances=1)
    with target_site.path(manifest, "source/service.py").open("a") as file:
        file.write("\nprint('changed')\n")
    (instance,) = target_site.target().instances("tiny")
    assert instance.pid is not None
    os.kill(instance.pid, signal.SIGKILL)
    wait_until(lambda: "not started" in target_site.target().log_tail("tiny", manifest.digest))
    assert "source/service.py was changed" in target_site.target().log_tail("tiny", manifest.digest)
    wait_until(lambda: target_site.target().instances("tiny")[0].state == "failed")


@pytest.mark.parametrize("folder", ["venv/lib/added.py", "wheels/added.whl", "bundle.tar"])
def test_every_part_of_a_release_is_verified(target_site: TargetSite, folder: str) -> None:
    manifest = target_site.release()
    target_site.target().prepare(manifest)
    place = target_site.path(manifest, folder)
    place.write_bytes((place.read_bytes() if place.exists() else b"") + b"x")
    with pytest.raises(InvariantError, match=f"{Path(folder).name}.* (was added|has SHA-256)"):
        target_site.target().start(spec_of(manifest))


def test_a_record_that_was_changed_with_the_file_is_found_out_by_the_pinned_bundle(target_site: TargetSite) -> None:
    manifest = target_site.release()
    target_site.target().prepare(manifest)
    changed = "print('another')"
    target_site.path(manifest, "source/service.py").write_text(changed)
    record = target_site.installation.state / "releases" / f"{manifest.digest}.json"
    value = json.loads(record.read_text())
    value["trees"]["source"]["service.py"] = f"0644 {sha256_hex(changed)}"
    record.write_text(json.dumps(value))
    with pytest.raises(InvariantError, match=r"source/service\.py was changed"):
        target_site.target().start(spec_of(manifest))


def test_a_stop_lets_the_request_under_way_end(target_site: TargetSite) -> None:
    manifest = _running(target_site, instances=1)
    (instance,) = target_site.target().instances("tiny")
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(ask(instance, "/slow")["pid"]))
    asking.start()
    time.sleep(0.3)
    target_site.target().stop("tiny", manifest.digest)
    asking.join(5)
    assert len(answers) == 1
    assert not probe(instance.url + "/", timeout_s=1).is_ok
    assert "ended gracefully" in target_site.target().log_tail("tiny", manifest.digest)
    assert not list((target_site.installation.state / "instances/homes").iterdir())


def test_a_retired_instance_gets_its_signal_only_when_its_last_request_has_ended(target_site: TargetSite) -> None:
    impatient = SERVICE.replace("lambda *_: threading.Thread(target=server.shutdown).start()", "lambda *_: os._exit(0)")
    manifest = _running(target_site, {**FILES, "service.py": impatient}, instances=2)
    first, second = target_site.target().instances("tiny")
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(ask(second, "/slow")["pid"]))
    asking.start()
    time.sleep(0.3)
    target_site.target().retire("tiny", manifest.digest, [second.index], drain_s=10)
    asking.join(5)
    assert len(answers) == 1, "it would have died at the signal"
    assert addresses(target_site.target().instances("tiny")) == addresses([first])


def test_limits_hold_the_whole_instance_and_come_back_with_it(target_site: TargetSite) -> None:
    hungry = SERVICE.replace(
        'if self.path == "/slow":',
        'if self.path == "/eat":\n            b"x" * (200 << 20)\n        if self.path == "/slow":',
    )
    wanted = Limits(memory_bytes=100 * 1024**2, cpu_share=0.5)
    manifest = _running(target_site, {**FILES, "service.py": hungry}, instances=1, limits=wanted)
    (before,) = target_site.target().instances("tiny")
    assert wanted.differ_from(before.limits) == ""
    if before.weaker:
        assert any("memory_bytes" in words for words in before.weaker), "said honestly"
    assert ask(before)["pid"]
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(before, "/eat")
    if before.weaker == ():  # with control groups it was killed, and is held again when it has come back
        wait_until(lambda: target_site.target().instances("tiny")[0].pid not in (None, before.pid))
        await_answers(target_site.target().instances("tiny"))
    assert wanted.differ_from(target_site.target().instances("tiny")[0].limits) == ""
    target_site.target().stop("tiny", manifest.digest)


def test_what_instances_use_of_the_processor_is_counted_with_all_that_they_started(target_site: TargetSite) -> None:
    manifest = _running(target_site)
    used = target_site.target().cpu_seconds("tiny", manifest.digest)
    assert 0 < used < 60
    for _ in range(50):
        ask(target_site.target().instances("tiny")[0])
    assert target_site.target().cpu_seconds("tiny", manifest.digest) > used


def test_a_group_of_an_earlier_version_is_read_kept_and_leaves_as_a_whole(target_site: TargetSite) -> None:
    target = target_site.target()
    manifest = target_site.release()
    target.prepare(manifest)
    spec = spec_of(manifest)
    await_answers(target.start(spec))
    (group,) = target._register.groups()
    programs = [program for _, program in target._programs(spec, manifest, group)]
    target_site.supervisor.remove_groups(group.units)
    target_site.supervisor.add_group(group.name, programs)
    await_answers(old := target.instances("tiny"))
    assert addresses(target.start(spec)) == addresses(old)
    resized = target.resize(spec_of(manifest, instances=3))
    assert {one.url for one in resized.leaving} == {one.url for one in old}
    await_answers(list(resized.wanted))
    with pytest.raises(ConfigError, match="end together"):
        target.retire("tiny", manifest.digest, [old[0].index], drain_s=1)
    target.retire("tiny", manifest.digest, [one.index for one in old], drain_s=1)
    assert addresses(target.instances("tiny")) == addresses(resized.wanted)
    assert group.name not in target_site.supervisor.groups()


def test_an_instance_that_ignores_the_signal_is_killed_at_its_limit(target_site: TargetSite) -> None:
    stubborn = SERVICE.replace("lambda *_: threading.Thread(target=server.shutdown).start()", "signal.SIG_IGN")
    manifest = _running(target_site, {**FILES, "service.py": stubborn}, instances=1, stop_limit_s=1)
    (instance,) = target_site.target().instances("tiny")
    started = time.monotonic()
    target_site.target().stop("tiny", manifest.digest)
    assert 0.9 < time.monotonic() - started < 6
    assert not probe(instance.url + "/", timeout_s=1).is_ok


def test_a_release_that_never_gets_healthy_shows_its_last_lines(target_site: TargetSite) -> None:
    broken = "print('reading settings')\nraise SystemExit('no such table: tickets')\n"
    manifest = target_site.release({**FILES, "service.py": broken})
    target = target_site.target()
    target.prepare(manifest)
    target.start(spec_of(manifest))
    wait_until(lambda: {instance.state for instance in target.instances("tiny")} == {"failed"})
    tail = target.log_tail("tiny", manifest.digest, lines=4)
    assert tail.count("no such table: tickets") == 2
    target.stop("tiny", manifest.digest)
    assert "no such table: tickets" in target.log_tail("tiny", manifest.digest)


def test_ports_that_others_listen_on_are_passed_over(target_site: TargetSite) -> None:
    manifest = target_site.release()
    target_site.target().prepare(manifest)
    first = target_site.installation.ports["instances"]
    with socket.create_server(("127.0.0.1", first)):
        instances = target_site.target().start(spec_of(manifest))
    assert str(first) not in {instance.url.rpartition(":")[2] for instance in instances}


def test_two_starts_at_once_give_one_pair_of_instances(target_site: TargetSite) -> None:
    manifest = target_site.release()
    target_site.target().prepare(manifest)
    found: list[list[str]] = []

    def start() -> None:
        found.append([instance.url for instance in target_site.target().start(spec_of(manifest))])

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2]
    await_answers(target_site.target().instances("tiny"))
    assert len(target_site.supervisor.processes()) == 2


def test_instances_come_back_with_the_supervisor(target_site: TargetSite) -> None:
    _running(target_site)
    before = target_site.target().instances("tiny")
    target_site.supervisor.shutdown()
    wait_until(lambda: not target_site.supervisor.socket.exists())
    with pytest.raises(TransientError, match="does not answer"):
        target_site.target().instances("tiny")
    wait_until(lambda: not target_site.supervisor.pid_file.exists())
    target_site.supervisor.boot()
    stopped = target_site.target().instances("tiny")
    assert [(instance.url, instance.state) for instance in stopped] == [(one.url, "stopped") for one in before]
    for group in target_site.supervisor.desired_groups():
        target_site.supervisor.start(group)
    await_answers(target_site.target().instances("tiny"))


def test_a_command_is_cut_off_at_its_limit_with_its_children(target_site: TargetSite) -> None:
    manifest = target_site.release()
    target_site.target().prepare(manifest)
    done = target_site.target().run(
        manifest, ["sh", "-c", "echo begun; sleep 98765 & sleep 98765"], environment={}, limit_s=0.5
    )
    assert (done.timed_out, done.tail) == (True, "begun")
    lines = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 98765" not in lines


def test_a_command_may_write_where_it_runs_and_the_release_stays_what_it_is(target_site: TargetSite) -> None:
    manifest = target_site.release()
    target = target_site.target()
    target.prepare(manifest)
    done = target.run(
        manifest, ["sh", "-c", "ls; echo x > report.xml; echo y > docs/readme.txt"], environment={}, limit_s=9
    )
    assert done.is_ok, done.tail
    assert "service.py" in done.tail
    target.verify(manifest)
    assert not list((target_site.installation.state / "work").iterdir())


INTERRUPTED = """
import json, sys, time
from pathlib import Path
from blocks.installation import read_installation
from blocks.local_releases import LocalReleases
from domain.release import read_manifest

class Slow:
    def get(self, key, path, *, sha256):
        path.write_bytes(Path(sys.argv[3]).read_bytes()[: int(sys.argv[4])])
        if int(sys.argv[4]) > 0:
            time.sleep(60)
        path.write_bytes(Path(sys.argv[3]).read_bytes())

releases = LocalReleases(read_installation(Path(sys.argv[1])), open_store=Slow)
releases.prepare(read_manifest(json.loads(sys.argv[2])))
"""


@pytest.mark.parametrize(("first_bytes", "until"), [(700, "bundle.tar"), (0, "source"), (0, "venv")])
def test_a_preparation_that_is_killed_leaves_nothing_half(
    target_site: TargetSite, tmp_path: Path, first_bytes: int, until: str
) -> None:
    manifest = target_site.release()
    archive = tmp_path / "bundle.tar"
    archive.write_bytes(target_site.store.blobs[bundle_key("tiny", manifest.bundle.sha256)])
    arguments = [str(target_site.installation.state), json.dumps(manifest.as_dict()), str(archive), str(first_bytes)]
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, *arguments], cwd=Path(__file__).parents[2])
    wait_until(lambda: target_site.path(manifest, until).exists() or child.poll() is not None)
    child.kill()
    child.wait()
    target = target_site.target()
    target.prepare(manifest)
    target.verify(manifest)
    await_answers(target.start(spec_of(manifest)))


def test_bytes_that_are_not_the_pinned_ones_are_not_installed(target_site: TargetSite) -> None:
    manifest = target_site.release()
    target_site.store.blobs[bundle_key("tiny", manifest.bundle.sha256)] += b"\0"
    with pytest.raises(InvariantError, match="SHA-256"):
        target_site.target().prepare(manifest)
    with pytest.raises(ConfigError, match="Prepare it first"):
        target_site.target().start(spec_of(manifest))
