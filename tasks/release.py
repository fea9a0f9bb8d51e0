"""From a built checkout to a pinned release: packed, stored, its image built, written to the ledger, handed to `cd`."""

import shutil
from pathlib import Path
from typing import Any

from blocks.bundle import SOURCE, pack_bundle, unpack_bundle
from blocks.world import open_world
from domain.application import ApplicationFile, ImagePart
from domain.delivery import ZERO_SHA, Commit
from domain.errors import ConfigError
from domain.ledger import Entry, Event
from domain.lock import Lock
from domain.release import Bundle, Image, Manifest, bundle_key, read_manifest, short
from tasks.recording import Subject, effect, effect_task, reading_task, record
from tasks.source import SOURCE as CHECKOUT
from tasks.source import ci_folder, read_application_file, read_lock, this_attempt
from tasks.waiting import patiently

BUNDLE_FILE = "bundle.tar"


@reading_task
def pack_release(run: str, application: str, commit: str) -> Manifest:
    """Fetch the locked wheels and pack them with the built source; before any check could change a file.

    Effect: the archive in the run's folder; the same input gives the same bytes.
    """
    folder = ci_folder(run)
    source = folder / CHECKOUT
    file = read_application_file(source)
    with effect(Subject(run, application), "bundle", "packed", detail=this_attempt()) as outcome:
        wheels = {wheel.name: wheel for lock in _locks(source, file) for wheel in open_world().packages.wheels(lock)}
        bundle = pack_bundle(folder / BUNDLE_FILE, source=source, wheels=list(wheels.values()))
        manifest = Manifest(application, commit, bundle, migrations=_migrations(source, file))
        outcome.update(sha256=bundle.sha256, size_bytes=bundle.size_bytes, wheels=len(wheels))
    return manifest


def _locks(source: Path, file: ApplicationFile) -> list[Lock]:
    """What a target installs off-line: the packages of the service and of its acceptance tests."""
    locks = [read_lock(source, file.build.requirements, key="build.requirements")]
    if file.acceptance and file.acceptance.requirements:
        locks.append(read_lock(source, file.acceptance.requirements, key="acceptance.requirements"))
    return locks


def _migrations(source: Path, file: ApplicationFile) -> tuple[str, ...]:
    if file.database is None:
        return ()
    folder = source / file.database.migrations
    if not folder.is_dir():
        raise ConfigError(
            f"slipway.toml: key 'database.migrations' names {file.database.migrations}, which is no folder of the "
            "commit. Add it, or correct the key."
        )
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_file() and path.name[0] not in "._"))


@effect_task
def store_bundle(run: str, application: str, sha256: str) -> str:
    """Put the bundle into the object store; its key. Storing the same bytes again is free."""
    key = bundle_key(application, sha256)
    with effect(Subject(run, application), "bundle", "stored", detail=f"{this_attempt()}:store", object_key=key):
        bundle = ci_folder(run) / BUNDLE_FILE
        patiently("The bundle, for S3,", lambda: open_world().store.put(key, bundle, sha256=sha256))
    return key


@effect_task
def build_image(run: str, application: str, manifest: Manifest) -> Manifest:
    """Add the image to a manifest, where one is declared and an engine answers.

    Effect: builds and pushes. The image of the same bundle is built once: its digest is taken from the ledger.
    """
    world = open_world()
    part = read_application_file(ci_folder(run) / CHECKOUT).image
    if part is None:
        return manifest
    known = _known_image(application, manifest.bundle)
    if known is not None:
        return _with_image(manifest, known)
    if not world.images.is_available():
        return manifest
    with effect(Subject(run, application), "image", "built", detail=this_attempt()) as outcome:
        image = _build(ci_folder(run), application, part)
        outcome.update(image=f"{image.repository}@{image.digest}")
    return _with_image(manifest, image)


def _build(folder: Path, application: str, part: ImagePart) -> Image:
    """Build off-line from the bundle's own wheels; where the base image takes others, from the registry."""
    context = folder / "image"
    try:
        return _build_in(context, folder, application, part, offline=True)
    except ConfigError:
        return _build_in(context, folder, application, part, offline=False)
    finally:
        shutil.rmtree(context, ignore_errors=True)


def _build_in(context: Path, folder: Path, application: str, part: ImagePart, *, offline: bool) -> Image:
    shutil.rmtree(context, ignore_errors=True)
    unpack_bundle(folder / BUNDLE_FILE, context)
    source = context / SOURCE
    arguments = {"BASE_IMAGE": part.base} if part.base else dict[str, str]()
    if offline and (context / "wheels").is_dir() and not (source / "wheels").exists():
        (context / "wheels").rename(source / "wheels")
        arguments["PIP_NO_INDEX"] = "1"
    return open_world().images.build(
        source,
        dockerfile=part.dockerfile,
        repository=application,
        build_arguments=arguments,
        limit_s=part.limit_s,
    )


def _known_image(application: str, bundle: Bundle) -> Image | None:
    for manifest in (read_manifest(entry.data["manifest"]) for entry in _pinned(application)):
        if manifest.bundle == bundle and manifest.image is not None:
            return manifest.image
    return None


def _with_image(manifest: Manifest, image: Image) -> Manifest:
    return Manifest(manifest.application, manifest.commit, manifest.bundle, manifest.migrations, image, manifest.format)


@effect_task
def pin_release(
    run: str,
    application: str,
    manifest: Manifest,
    requester: str,
    requester_email: str,
    branch: str,
    before: str,
    checks: list[dict[str, Any]],
) -> str:
    """Write the release to the ledger, once; its digest.

    The same commit with the same bundle is the release that was pinned before, whatever happened to its image since.
    Effect: one entry, at most.
    """
    world = open_world()
    for entry in _pinned(application):
        known = read_manifest(entry.data["manifest"])
        if (known.commit, known.bundle) == (manifest.commit, manifest.bundle):
            return known.digest
    digest = manifest.digest
    data = {
        "manifest": manifest.as_dict(),
        "commit": manifest.commit,
        "branch": branch,
        "requester": requester,
        "requester_email": requester_email,
        "commits": [_as_json(commit) for commit in _commits(application, manifest.commit, before)],
        "migrations": list(manifest.migrations),
        "checks": checks,
        "isolation": world.runner.isolation().as_dict(),
    }
    actor = requester or "slipway"
    key = f"release:{application}:{digest}"
    world.ledger.append(
        Event("release.pinned", application=application, release=digest, actor=actor, run=run, key=key, data=data)
    )
    return digest


def _commits(application: str, commit: str, before: str) -> list[Commit]:
    """What came with this release: since the push before it, or since the release pinned last."""
    base = before if before and before != ZERO_SHA else None
    if base is None:
        base = next((str(entry.data["commit"]) for entry in _pinned(application)), None)
    return open_world().sources.commits(application, base=base, head=commit)


def _as_json(commit: Commit) -> dict[str, str]:
    return {"sha": commit.sha, "author": commit.author, "author_email": commit.author_email, "title": commit.title}


def _pinned(application: str) -> list[Entry]:
    """The releases of an application, newest first."""
    return open_world().ledger.entries(kinds=["release.pinned"], application=application, newest_first=True, limit=1000)


@effect_task
def start_cd(run: str, application: str, release: str, requester: str) -> str:
    """Hand a pinned release to `cd`; the id of its run. Effect: one run, however often this is asked."""
    subject = Subject(run, application, release=release)
    with effect(subject, "handover", "completed", detail=this_attempt()) as outcome:
        started = open_world().flow_runs.start(
            "cd/cd",
            parameters={"application": application, "release": release, "requester": requester},
            idempotency_key=f"cd:{application}:{release}:{run}",
            name=f"{application} {short(release)}",
        )
        outcome.update(cd_run=started)
    return started


@effect_task
def record_ci(
    run: str, application: str, kind: str, attempt: int, actor: str, data: dict[str, Any], release: str = ""
) -> int:
    """Write one entry about a run of `ci` as a whole: its sequence number. Effect: one entry for each attempt."""
    subject = Subject(run, application, release=release, actor=actor or "slipway")
    return record(subject, kind, detail=str(attempt), **data).seq
