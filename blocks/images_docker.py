"""Container images through a Docker engine and a registry: `Images`.

The SDK is imported when it is first needed: an installation without an engine never pays for it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field

from domain.errors import ConfigError, TransientError
from domain.release import Image

AVAILABLE_LIMIT_S = 3


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

        try:
            client = docker.DockerClient(base_url=self.engine_url, timeout=AVAILABLE_LIMIT_S)
            try:
                client.ping()
            finally:
                client.close()
            return requests.get(f"http://{self.registry}/v2/", timeout=AVAILABLE_LIMIT_S).status_code == 200
        except (DockerException, requests.RequestException):
            return False

    def build(
        self, directory: Path, *, dockerfile: str, repository: str, build_arguments: Mapping[str, str], limit_s: float
    ) -> Image:
        """Build, push, and name the image by the digest that the registry gave."""
        if not (directory / dockerfile).is_file():
            raise ConfigError(f"There is no '{dockerfile}' in the commit. Correct [image] dockerfile in slipway.toml.")
        from docker.errors import APIError, BuildError

        client = self._connect(limit_s)
        name = f"{self.registry}/{repository}"
        try:
            image, _ = client.images.build(
                path=str(directory),
                dockerfile=dockerfile,
                buildargs=dict(build_arguments),
                rm=True,
                timeout=int(limit_s),
            )
            image.tag(name, "slipway-build")
            return Image(repository=name, digest=_push(client, name, "slipway-build"))
        except BuildError as exc:
            raise ConfigError(f"The image could not be built: {str(exc)[:256]}. Correct {dockerfile}.") from exc
        except APIError as exc:
            raise TransientError(f"Docker refused: {str(exc)[:256]}. Look at the engine's log.") from exc
        finally:
            client.close()

    def pull(self, image: Image) -> None:
        from docker.errors import APIError, NotFound

        client = self._connect(300)
        try:
            client.images.pull(f"{image.repository}@{image.digest}")
        except NotFound as exc:
            raise ConfigError(f"No image {image.repository}@{image.digest}. Build it first.") from exc
        except APIError as exc:
            raise TransientError(f"Docker could not pull: {str(exc)[:256]}. Is the registry up?") from exc
        finally:
            client.close()

    def _connect(self, limit_s: float) -> Any:
        import docker
        from docker.errors import DockerException

        try:
            return docker.DockerClient(base_url=self.engine_url, timeout=int(limit_s))
        except DockerException as exc:
            raise TransientError(f"No Docker engine at {self.engine_url}: {str(exc)[:200]}. Start it.") from exc


def _push(client: Any, name: str, tag: str) -> str:
    """Push and return the digest, which the stream's last message carries."""
    digest = ""
    for message in client.images.push(name, tag=tag, stream=True, decode=True):
        if "error" in message:
            raise TransientError(f"The registry refused {name}: {str(message['error'])[:256]}.")
        digest = str(message.get("aux", {}).get("Digest", digest))
    return digest
