"""Container images through a Docker engine and a registry: `Images`.

The SDK is imported when it is first needed: an installation without an engine never pays for it. The same input gives
the same digest: what a build leaves of its time is taken out (`blocks/image_layers.py`) before the image is pushed.
"""

import re
import socket
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field

from blocks.image_layers import normalise
from blocks.images_kept import BUILD_TAG, KeptImages
from domain.errors import ConfigError, TransientError
from domain.release import Image, StoredImage

AVAILABLE_LIMIT_S = 3
PULL_LIMIT_S = 300
ANSWER_LIMIT_S = 60
"""How long the engine may take for one answer beyond the build's own limit."""

TAIL_LINES = 20
TAIL_CHARACTERS = 1500

RUNNING = re.compile(r"---> Running in ([0-9a-f]{12,64})")
MADE = re.compile(r"---> ([0-9a-f]{12,64})\s*$")


class DockerImages(Block):
    """Builds, pushes and pulls images by digest, where a Docker engine and a registry answer."""

    _block_type_name: ClassVar[str | None] = "Slipway Docker Images"
    _block_type_slug: ClassVar[str | None] = "slipway-docker-images"

    engine_url: str = Field(default="unix:///var/run/docker.sock", description="Where the Docker engine listens.")
    registry: str = Field(default="localhost:5000", description="Host and port of the registry to push to.")

    def is_available(self) -> bool:
        import docker
        import requests
        from docker.errors import DockerException

        if not _listens(self.engine_url):
            return False
        try:
            client = docker.DockerClient(base_url=self.engine_url, timeout=AVAILABLE_LIMIT_S)
            try:
                client.ping()
            finally:
                client.close()
            with requests.Session() as session:
                session.trust_env = False
                return session.get(f"http://{self.registry}/v2/", timeout=AVAILABLE_LIMIT_S).status_code == 200
        except (DockerException, requests.RequestException, ValueError):
            return False

    def build(
        self, directory: Path, *, dockerfile: str, repository: str, build_arguments: Mapping[str, str], limit_s: float
    ) -> Image:
        """Build, push, and name the image by the digest that the registry gave.

        Effect: an image in the engine and in the registry; doing it again gives the same one.

        Raises:
            ConfigError: where the commit's Dockerfile can't be built, with the last lines of its output, or where it
                took longer than `limit_s`; TransientError: where engine or registry do not answer: ask again.
        """
        if not (directory / dockerfile).is_file():
            raise ConfigError(f"There is no '{dockerfile}' in the commit. Correct [image] dockerfile in slipway.toml.")
        name, tag = f"{self.registry}/{repository}", BUILD_TAG
        with self._engine(limit_s + ANSWER_LIMIT_S) as client:
            attempt = _Attempt(client.api, dockerfile=dockerfile, limit_s=limit_s)
            try:
                built = attempt.run(directory, build_arguments)
                with tempfile.TemporaryDirectory(prefix="image-", dir=directory.parent) as folder:
                    _make_timeless(client.api, built, Path(folder), tag=f"{name}:{tag}")
            finally:
                attempt.clean_up()
            return Image(repository=name, digest=_push(client.api, name, tag))

    def pull(self, image: Image) -> None:
        """Bring an image from the registry; the engine compares its bytes with the digest.

        Raises:
            ConfigError: where the registry does not have it; TransientError: where it does not answer: ask again.
        """
        from docker.errors import NotFound

        with self._engine(PULL_LIMIT_S) as client:
            try:
                client.images.pull(f"{image.repository}@{image.digest}")
            except NotFound as exc:
                raise ConfigError(f"No image {image.repository}@{image.digest}. Build it first.") from exc

    def stored(self, images: Sequence[Image]) -> Sequence[StoredImage]:
        """Of these, those that registry or engine have, with their bytes and what uses them there.

        Raises: TransientError where the registry does not answer.
        """
        with self._kept() as kept:
            return kept.stored(images)

    def remove(self, image: Image) -> None:
        """Remove an image by its digest from registry and engine.

        Effect: may be repeated. Raises: ConfigError where a container uses it, or the registry lets none be removed.
        """
        with self._kept() as kept:
            kept.remove(image)

    @contextmanager
    def _kept(self) -> Generator[KeptImages]:
        if not _listens(self.engine_url):
            yield KeptImages(self.registry, None)
            return
        with self._engine(PULL_LIMIT_S) as client:
            yield KeptImages(self.registry, client)

    @contextmanager
    def _engine(self, limit_s: float) -> Generator[Any]:
        """Open the engine for a while; whatever it answers wrongly inside is ours to name."""
        import docker
        import requests
        from docker.errors import DockerException
        from urllib3.exceptions import HTTPError

        if not _listens(self.engine_url):
            raise TransientError(f"No Docker engine at {self.engine_url}. Start it, or correct the block's engine_url.")
        try:
            client = docker.DockerClient(base_url=self.engine_url, timeout=int(limit_s) or 1)
        except DockerException as exc:
            raise TransientError(f"No Docker engine at {self.engine_url}: {str(exc)[:200]}. Start it.") from exc
        try:
            yield client
        except (DockerException, requests.RequestException, HTTPError) as exc:
            raise TransientError(f"Docker gave no good answer: {str(exc)[:256]}. Look at the engine's log.") from exc
        finally:
            client.close()


def _listens(engine_url: str) -> bool:
    """Whether anybody is at the engine's UNIX socket; the SDK would leave its own socket open where nobody is."""
    if not engine_url.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(AVAILABLE_LIMIT_S)
        try:
            probe.connect("/" + engine_url.removeprefix("unix://").lstrip("/"))
        except OSError:
            return False
        return True


class _Attempt:
    """One build: its output, its limit, and what it leaves behind in the engine."""

    def __init__(self, api: Any, *, dockerfile: str, limit_s: float) -> None:
        self.api = api
        self.dockerfile = dockerfile
        self.limit_s = limit_s
        self.lines: list[str] = []
        self.made: list[str] = []
        self.running: str | None = None
        self.expired = threading.Event()

    def run(self, directory: Path, build_arguments: Mapping[str, str]) -> str:
        """Build from scratch; return the id of the image."""
        limit = threading.Timer(self.limit_s, self._expire)
        limit.start()
        begun = time.monotonic()
        try:
            for message in self.api.build(
                path=str(directory),
                dockerfile=self.dockerfile,
                buildargs=dict(build_arguments),
                rm=True,
                forcerm=True,
                nocache=True,
                decode=True,
            ):
                self._read(message)
        finally:
            limit.cancel()
        if self.expired.is_set():
            raise ConfigError(self._explain(f"took longer than {self.limit_s:.0f} s and was ended"))
        if not self.made:
            raise ConfigError(self._explain(f"came to nothing after {time.monotonic() - begun:.0f} s"))
        return self.made[-1]

    def _read(self, message: Mapping[str, Any]) -> None:
        """Follow the output: which container runs, which images were made, what went wrong."""
        text = str(message.get("stream", ""))
        self.lines = [*self.lines, *text.splitlines()][-TAIL_LINES:]
        if found := RUNNING.search(text):
            self.running = found[1]
            if self.expired.is_set():
                self._kill()
        if found := MADE.search(text):
            self.made.append(found[1])
        if "error" in message and not self.expired.is_set():
            raise ConfigError(self._explain(f"failed: {str(message['error'])[:256]}"))

    def _expire(self) -> None:
        self.expired.set()
        self._kill()

    def _kill(self) -> None:
        """End the container of the step that runs, with all of its processes; the engine then ends the build."""
        from docker.errors import DockerException

        if self.running:
            with suppress(DockerException):
                self.api.kill(self.running)

    def _explain(self, what: str) -> str:
        tail = "\n".join(line for line in self.lines if line.strip())[-TAIL_CHARACTERS:]
        advice = f"Correct {self.dockerfile}, or raise [image] limit_s in slipway.toml."
        return f"The image's build {what}. {advice} Its last lines:\n{tail}"

    def clean_up(self) -> None:
        """Remove the untagged images of this build: each build is from scratch, so nobody needs them again."""
        from docker.errors import DockerException

        for image in reversed(self.made):
            with suppress(DockerException):
                if not self.api.inspect_image(image)["RepoTags"]:
                    self.api.remove_image(image, noprune=True)


def _make_timeless(api: Any, image: str, folder: Path, *, tag: str) -> None:
    """Load the image again without its time, under `tag`."""
    saved, written = folder / "saved.tar", folder / "written.tar"
    with saved.open("wb") as file:
        for chunk in api.get_image(image):
            file.write(chunk)
    digest = normalise(saved, into=written, base_layers=_base_layers(api, image), tag=tag)
    saved.unlink()
    with written.open("rb") as file:
        for message in api.load_image(file):
            if "error" in message:
                raise TransientError(f"Docker could not load {tag} ({digest}): {str(message['error'])[:256]}.")


def _base_layers(api: Any, image: str) -> int:
    """How many of an image's layers are its base's: those of the oldest ancestor, which was not built here."""
    details = api.inspect_image(image)
    while details.get("Parent"):
        details = api.inspect_image(details["Parent"])
    return len(details["RootFS"].get("Layers") or [])


def _push(api: Any, name: str, tag: str) -> str:
    """Push and return the digest, which the stream's last message carries."""
    digest = ""
    for message in api.push(name, tag=tag, stream=True, decode=True):
        if "error" in message:
            raise TransientError(f"The registry refused {name}: {str(message['error'])[:256]}. Look at its log.")
        digest = str(message.get("aux", {}).get("Digest", digest))
    if not digest:
        raise TransientError(f"The registry named no digest for {name}. Look at its log, then try again.")
    return digest
