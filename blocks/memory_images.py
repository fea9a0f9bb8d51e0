"""Container images in memory: the twin of `blocks/images_docker.py`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from domain.canonical import digest_of, sha256_hex
from domain.errors import ConfigError
from domain.release import Image, StoredImage


class MemoryImages:
    """Fulfils `domain.ports.Images` for tests; the digest is that of the folder's files and the build's arguments."""

    def __init__(self, *, available: bool = False) -> None:
        self.available = available
        self.built: list[Image] = []
        self.used: dict[Image, str] = {}

    def is_available(self) -> bool:
        return self.available

    def build(
        self, directory: Path, *, dockerfile: str, repository: str, build_arguments: Mapping[str, str], limit_s: float
    ) -> Image:
        if not (directory / dockerfile).is_file():
            raise ConfigError(f"There is no '{dockerfile}' in the commit. Correct [image] dockerfile in slipway.toml.")
        files = {
            str(path.relative_to(directory)): sha256_hex(path.read_bytes())
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        digest = f"sha256:{digest_of([dockerfile, files, dict(build_arguments)])}"
        image = Image(repository=repository, digest=digest)
        self.built.append(image)
        return image

    def stored(self, images: Sequence[Image]) -> Sequence[StoredImage]:
        return [StoredImage(one, 1, self.used.get(one, "")) for one in images if one in self.built]

    def remove(self, image: Image) -> None:
        if self.used.get(image):
            raise ConfigError(f"The engine keeps {image.repository}@{image.digest}: {self.used[image]}.")
        self.built = [one for one in self.built if one != image]

    def pull(self, image: Image) -> None:
        if image not in self.built:
            raise ConfigError(f"No image {image.repository}@{image.digest}. Build it first.")
