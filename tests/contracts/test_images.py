"""`Images`: the same promises of the twin and of a real Docker engine with a real registry."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.images_docker import DockerImages
from blocks.memory_images import MemoryImages
from domain.errors import ConfigError, TransientError
from domain.ports import Images
from domain.release import Image

REGISTRY = os.environ.get("SLIPWAY_TEST_REGISTRY", "localhost:5000")
BASE_IMAGE = os.environ.get("SLIPWAY_TEST_BASE_IMAGE", "localhost:5000/base/python:bookworm")

DOCKERFILE = """
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG COLOUR=none
WORKDIR /app
COPY desk.py ./
RUN echo $COLOUR > colour.txt && date > /dev/null && python3 -m compileall -q . && ln desk.py again.py
CMD ["python3", "desk.py"]
"""


def _docker() -> DockerImages:
    images = DockerImages(registry=REGISTRY)
    reason = ""
    if not images.is_available():
        reason = f"no Docker engine or no registry at {REGISTRY} answers; .ci/run starts both"
    elif not _has_base(images):
        reason = f"the engine has no image {BASE_IMAGE}; .ci/run makes it"
    if reason and os.environ.get("SLIPWAY_REQUIRE_DOCKER") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return images


def _has_base(images: DockerImages) -> bool:
    import docker
    from docker.errors import ImageNotFound

    client = docker.DockerClient(base_url=images.engine_url)
    try:
        client.images.get(BASE_IMAGE)
    except ImageNotFound:
        return False
    finally:
        client.close()
    return True


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.docker)])
def images(request: pytest.FixtureRequest) -> Images:
    return MemoryImages(available=True) if request.param == "memory" else _docker()


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, *, source: str = "print('hello')\n", dockerfile: str = DOCKERFILE) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "Dockerfile").write_text(dockerfile)
        (folder / "desk.py").write_text(source)
        return folder

    return make


def _build(images: Images, folder: Path, *, limit_s: float = 240, **arguments: str) -> Image:
    return images.build(
        folder,
        dockerfile="Dockerfile",
        repository="contract",
        build_arguments={"BASE_IMAGE": BASE_IMAGE} | arguments,
        limit_s=limit_s,
    )


def test_the_same_files_give_the_same_digest_and_other_files_or_arguments_another(
    images: Images, context: Callable[..., Path]
) -> None:
    first = _build(images, context("first"))
    later = context("later")
    os.utime(later / "desk.py", (1_000_000_000, 1_000_000_000))
    assert _build(images, later) == first
    assert _build(images, context("other", source="print('other')\n")).digest != first.digest
    assert _build(images, later, COLOUR="red").digest != first.digest
    assert first.repository.endswith("contract")
    assert first.digest.startswith("sha256:") and len(first.digest) == len("sha256:") + 64


def test_an_image_can_be_pulled_by_its_digest_and_no_other(images: Images, context: Callable[..., Path]) -> None:
    image = _build(images, context("first"))
    images.pull(image)
    with pytest.raises(ConfigError, match="Build it first"):
        images.pull(Image(image.repository, f"sha256:{'0' * 64}"))


def test_an_image_that_is_removed_is_gone_from_registry_and_engine_and_others_are_not(
    images: Images, context: Callable[..., Path]
) -> None:
    first, other = _build(images, context("first", source="print(1)")), _build(images, context("b", source="print(2)"))
    images.pull(first)
    never = Image(first.repository, f"sha256:{'0' * 64}")
    found = {one.image: one for one in images.stored([first, other, never])}
    assert set(found) == {first, other} and found[first].size_bytes > 0 and found[first].used_by == ""
    images.remove(first)
    images.remove(first)
    images.remove(never)
    assert [one.image for one in images.stored([first, other])] == [other]
    with pytest.raises(ConfigError):
        images.pull(first)


@pytest.mark.docker
def test_an_image_that_a_container_uses_or_somebody_tagged_says_so(context: Callable[..., Path]) -> None:
    import docker

    images = _docker()
    image = _build(images, context("first", source="print(3)"))
    images.pull(image)
    client = docker.DockerClient(base_url=images.engine_url)
    container = client.containers.create(f"{image.repository}@{image.digest}")
    try:
        (found,) = images.stored([image])
        assert "the container" in found.used_by
    finally:
        container.remove()
        local = client.images.get(f"{image.repository}@{image.digest}")
        local.tag(image.repository, "kept")
        client.images.push(image.repository, "kept")
        client.close()
    (found,) = images.stored([image])
    assert found.used_by == "it has the tag kept"


def test_a_dockerfile_that_is_not_there_is_named(images: Images, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no 'Dockerfile' in the commit.*slipway\.toml"):
        _build(images, tmp_path)


def test_available_where_engine_and_registry_answer(images: Images) -> None:
    assert images.is_available()


@pytest.mark.docker
def test_a_command_that_fails_is_shown_with_its_last_lines(context: Callable[..., Path]) -> None:
    dockerfile = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo no such wheel: desk-9 && exit 3\n"
    with pytest.raises(ConfigError, match=r"(?s)failed.*code: 3.*Correct Dockerfile.*no such wheel: desk-9"):
        _build(_docker(), context("broken", dockerfile=dockerfile))


@pytest.mark.docker
def test_a_build_that_hangs_is_ended_at_its_limit_with_its_container(context: Callable[..., Path]) -> None:
    import docker

    images = _docker()
    dockerfile = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN sleep 1000 & echo hanging now; sleep 1000\n"
    with pytest.raises(ConfigError, match=r"(?s)longer than 6 s and was ended.*limit_s.*hanging now"):
        _build(images, context("hanging", dockerfile=dockerfile), limit_s=6)
    client = docker.DockerClient(base_url=images.engine_url)
    try:
        left = [container for container in client.containers.list() if "sleep 1000" in str(container.attrs["Args"])]
    finally:
        client.close()
    assert left == []


@pytest.mark.docker
def test_a_base_that_does_not_exist_is_an_answer_that_names_it(context: Callable[..., Path]) -> None:
    dockerfile = f"FROM {REGISTRY}/nowhere/at-all:1\n"
    with pytest.raises(ConfigError, match="nowhere/at-all"):
        _build(_docker(), context("baseless", dockerfile=dockerfile))


@pytest.mark.docker
def test_the_helpdesk_is_built_without_network_and_without_dated_byte_code(tmp_path: Path) -> None:
    """The example's own Dockerfile, on wheels that lie beside it, as `ci` hands them over."""
    import shutil
    import subprocess
    import sys

    images = _docker()
    source = Path(__file__).resolve().parents[2] / "examples/helpdesk"
    folder = tmp_path / "helpdesk"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    subprocess.run([*fetch, "-r", str(folder / "requirements.lock"), "-d", str(folder / "wheels")], check=True)
    built = [
        images.build(
            folder,
            dockerfile="Dockerfile",
            repository="contract-helpdesk",
            build_arguments={"BASE_IMAGE": BASE_IMAGE, "PIP_NO_INDEX": "1"},
            limit_s=600,
        )
        for _ in range(2)
    ]
    assert built[0] == built[1]
    run = ["docker", "run", "--rm", "--network", "none"]
    program = "import helpdesk, uvicorn, psycopg, os; print(os.getuid())"
    said = subprocess.run(
        [*run, f"{built[0].repository}@{built[0].digest}", "python", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "10001"


def test_no_engine_and_no_registry_is_unavailable_at_once_and_asking_again_is_right(
    tmp_path: Path, context: Callable[..., Path]
) -> None:
    nobody = DockerImages(engine_url=f"unix://{tmp_path}/nobody.sock", registry="localhost:1")
    assert not nobody.is_available()
    with pytest.raises(TransientError, match=r"No Docker engine at .*nobody\.sock"):
        _build(nobody, context("first"))
