"""A target installs a release's locked wheels off-line, and an environment with more of them beside it."""

import hashlib
import io
import zipfile

import pytest
from fixtures_target import FILES, SLIPWAY_TOML, TargetSite, ask, await_answers, spec_of

from domain.errors import ConfigError, InvariantError
from domain.release import Manifest


def _wheel(name: str, version: str, *, script: str = "") -> tuple[str, bytes]:
    """Make a pure wheel with one module, and a command of the same name where a script is given."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\ndef main():\n    print({script!r}, VERSION)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{name}-{version}-py3-none-any.whl", content.getvalue()


def _line(wheel: tuple[str, bytes]) -> str:
    name, version, *_ = wheel[0].split("-")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel[1]).hexdigest()}\n"


DESK = _wheel("desklib", "1.0", script="desklib says")
TOOL = _wheel("checktool", "2.0", script="checktool says")
NEWER = _wheel("desklib", "1.1", script="desklib says")


def _release(site: TargetSite, lock: str = _line(DESK), *, wheels: list[tuple[str, bytes]]) -> Manifest:
    files = {**FILES, "slipway.toml": SLIPWAY_TOML, "requirements.lock": lock}
    return site.release({**files, "locks/acceptance.lock": _line(TOOL) + _line(NEWER)}, wheels=dict(wheels))


def test_locked_wheels_are_there_for_instances_and_commands(target_site: TargetSite) -> None:
    manifest = _release(target_site, wheels=[DESK, TOOL])
    target = target_site.target()
    target.prepare(manifest)
    done = target.run(manifest, ["desklib"], environment={}, limit_s=20)
    assert (done.is_ok, done.tail) == (True, "desklib says 1.0")
    await_answers(target.start(spec_of(manifest, instances=1)))
    folder = target_site.path(manifest, "venv")
    seen = ask(target.instances("tiny")[0])["environment"]
    assert isinstance(seen, dict)
    assert seen["VIRTUAL_ENV"] == str(folder)
    assert seen["PATH"].startswith(f"{folder}/bin:")


def test_more_packages_stand_beside_the_release_and_not_in_it(target_site: TargetSite) -> None:
    """The lock asked for wins over the release's own; what is beside is verified as well."""
    manifest = _release(target_site, wheels=[DESK, TOOL, NEWER])
    target = target_site.target()
    target.prepare(manifest)
    both = ["sh", "-c", "checktool && desklib"]
    for _ in range(2):
        done = target.run(manifest, both, environment={}, limit_s=20, requirements="locks/acceptance.lock")
        assert done.tail == "checktool says 2.0\ndesklib says 1.1"
    assert not target.run(manifest, ["checktool"], environment={}, limit_s=20).is_ok
    assert target.run(manifest, ["desklib"], environment={}, limit_s=20).tail == "desklib says 1.0"
    target.verify(manifest)
    beside = target_site.installation.state / "releases" / f"{manifest.digest}.venv-locks-acceptance.lock"
    (module,) = beside.rglob("checktool.py")
    module.write_text("def main():\n    print('another')\n")
    with pytest.raises(InvariantError, match=r"checktool\.py was changed"):
        target.run(manifest, both, environment={}, limit_s=20, requirements="locks/acceptance.lock")


WRONG_LOCKS = {
    "other bytes": (_line((DESK[0], b"other")), "off-line"),
    "no such wheel": (_line(TOOL), "off-line"),
    "an address": ("desklib @ https://example.org/desklib.whl\n", r"requirements\.lock, line 1"),
    "an option": ("--requirement=/etc/passwd\n", r"requirements\.lock, line 1"),
}


@pytest.mark.parametrize("wrong", WRONG_LOCKS)
def test_what_is_not_locked_and_packed_is_not_installed(target_site: TargetSite, wrong: str) -> None:
    lock, reason = WRONG_LOCKS[wrong]
    manifest = _release(target_site, lock, wheels=[DESK])
    with pytest.raises(ConfigError, match=reason):
        target_site.target().prepare(manifest)
    with pytest.raises(ConfigError, match="Prepare it first"):
        target_site.target().start(spec_of(manifest))


def test_a_release_without_its_description_is_not_installed(target_site: TargetSite) -> None:
    manifest = target_site.release({"service.py": "pass"})
    with pytest.raises(ConfigError, match=r"no text file 'slipway\.toml'"):
        target_site.target().prepare(manifest)
