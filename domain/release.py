"""A release: one manifest, pinned by its digest, that names every byte which will run.

Made by `ci`, never changed afterwards; `cd` and `rollback` move it around by its digest alone.
"""

from dataclasses import asdict, dataclass
from typing import Any

from domain.canonical import digest_of

SHORT = 12
"""How many digits of a digest people are shown; names of services and folders use as many."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The archive of source and locked wheels: its SHA-256 over the bytes, and its size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Image:
    """A container image by digest: `repository@sha256:...`; never by tag."""

    repository: str
    digest: str


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that registry or engine keep. `used_by` says what uses it there; empty: nothing."""

    image: Image
    size_bytes: int
    used_by: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a release is made of.

    `migrations` are file names in their order; `commit` is the full SHA of the commit that was built.
    """

    application: str
    commit: str
    bundle: Bundle
    migrations: tuple[str, ...] = ()
    image: Image | None = None
    format: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON values; what `digest` covers and what the ledger keeps."""
        value = asdict(self)
        value["migrations"] = list(self.migrations)
        return value

    @property
    def digest(self) -> str:
        """The release's identity: sha256 of the canonical manifest, 64 hexadecimal digits."""
        return digest_of(self.as_dict())


def read_manifest(value: dict[str, Any]) -> Manifest:
    """Rebuild a manifest from what `as_dict` wrote.

    Raises:
        KeyError, TypeError: where it is not one.
    """
    image = value.get("image")
    return Manifest(
        application=value["application"],
        commit=value["commit"],
        bundle=Bundle(**value["bundle"]),
        migrations=tuple(value["migrations"]),
        image=Image(**image) if image else None,
        format=value["format"],
    )


def short(digest: str) -> str:
    """Shorten a digest or a commit for people's eyes and for names; a revision keeps its settings: `0123456789ab@3`."""
    digest, at, settings = digest.partition("@")
    return digest[:SHORT] + at + settings


def bundle_key(application: str, sha256: str) -> str:
    """Where the object store keeps a bundle."""
    return f"bundles/{application}/{sha256}.tar"
