"""Images that registry and engine keep: what they take, what uses them, and how they go.

Called by `DockerImages` for clean-up. Only images that are asked about by their digest are looked at; removing one
takes its manifest from the registry, whose own garbage collection then frees the layers that nothing else has.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from domain.errors import ConfigError, TransientError
from domain.release import Image, StoredImage

BUILD_TAG = "slipway-build"
"""The tag that every build moves: it holds nothing."""
_TYPES = ", ".join(
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    )
)
_LIMIT_S = 20
_TAGS_MAX = 1000


@dataclass(frozen=True, slots=True)
class KeptImages:
    """Reads and removes images of one registry and one engine.

    Args:
        client: of the engine; None where none answers: then only the registry is looked at.
    """

    registry: str
    client: Any

    def stored(self, images: Sequence[Image]) -> list[StoredImage]:
        """Of these, those that the registry or the engine has."""
        running, found = self._running(), list[StoredImage]()
        tags = {one.repository: self._tags(one.repository) for one in images}
        for image in images:
            size, local = self._size(image), self._local(image)
            if size is None and local is None:
                continue
            used = running.get(str(local.id), "") if local is not None else ""
            tag = tags[image.repository].get(image.digest, "")
            used = used or (f"it has the tag {tag}" if tag else "")
            size = int(local.attrs.get("Size", 0)) if size is None and local is not None else size
            found.append(StoredImage(image, size or 0, used))
        return found

    def remove(self, image: Image) -> None:
        """Take one from registry and engine; gone is no error. Raises: ConfigError where that is refused."""
        from docker.errors import APIError, ImageNotFound

        answer = self._ask("DELETE", f"{self._path(image.repository)}/manifests/{image.digest}")
        if answer.status_code == 405:
            raise ConfigError(
                f"The registry {self.registry} lets no image be removed. Set storage.delete.enabled in its settings."
            )
        if answer.status_code not in (200, 202, 404):
            raise TransientError(f"The registry {self.registry} did not remove {_name(image)}: {answer.status_code}.")
        if self.client is None:
            return
        try:
            self.client.images.remove(_name(image))
        except ImageNotFound:
            return
        except APIError as exc:
            if exc.status_code != 409:
                raise
            raise ConfigError(f"The engine keeps {_name(image)}: {str(exc.explanation)[:200]}.") from exc

    def _running(self) -> dict[str, str]:
        """Which container uses an image, by the image's id; a stopped one counts as well: it may be started again."""
        if self.client is None:
            return {}
        return {
            str(one.attrs["ImageID"]): f"the container {(one.attrs.get('Names') or ['?'])[0].lstrip('/')} uses it"
            for one in self.client.containers.list(all=True, sparse=True)
        }

    def _local(self, image: Image) -> Any:
        from docker.errors import ImageNotFound

        if self.client is None:
            return None
        try:
            return self.client.images.get(_name(image))
        except ImageNotFound:
            return None

    def _size(self, image: Image) -> int | None:
        """What its layers take in the registry, shared ones included; None where it is not there."""
        answer = self._ask("GET", f"{self._path(image.repository)}/manifests/{image.digest}")
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise TransientError(f"The registry {self.registry} did not show {_name(image)}: {answer.status_code}.")
        told = answer.json()
        parts = [*told.get("layers", []), *told.get("manifests", []), told.get("config", {})]
        return sum(int(one.get("size", 0)) for one in parts)

    def _tags(self, repository: str) -> dict[str, str]:
        """The tag of each digest that somebody named; what `BUILD_TAG` points to is nobody's choice."""
        answer = self._ask("GET", f"{self._path(repository)}/tags/list?n={_TAGS_MAX}")
        tags = (answer.json().get("tags") or []) if answer.status_code == 200 else []
        found: dict[str, str] = {}
        for tag in tags:
            if tag != BUILD_TAG:
                head = self._ask("HEAD", f"{self._path(repository)}/manifests/{tag}")
                found[str(head.headers.get("Docker-Content-Digest", ""))] = str(tag)
        return found

    def _path(self, repository: str) -> str:
        host, _, path = repository.partition("/")
        if host != self.registry:
            raise ConfigError(f"{repository} is not in the registry {self.registry}. Correct the block's registry.")
        return path

    def _ask(self, method: str, path: str) -> Any:
        import requests

        with _our_errors(self.registry), requests.Session() as session:
            session.trust_env = False
            return session.request(
                method, f"http://{self.registry}/v2/{path}", headers={"Accept": _TYPES}, timeout=_LIMIT_S
            )


def _name(image: Image) -> str:
    return f"{image.repository}@{image.digest}"


@contextmanager
def _our_errors(registry: str) -> Generator[None]:
    import requests

    try:
        yield
    except requests.RequestException as exc:
        raise TransientError(f"The registry {registry} does not answer: {str(exc)[:200]}. Start it.") from exc
