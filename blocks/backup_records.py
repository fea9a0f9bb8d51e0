"""What we write beside an engine's backups: manifests of SHA-256, labels, holds. The same for every engine.

Small JSON objects under `PREFIX/slipway/`, which the engines' own tools pass over. A manifest is written last: a backup
without one was not finished by us.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from blocks.backup_bucket import BackupBucket
from domain.backup import Backup, BackupManifest, Evidence, StoredObject, read_backup, read_manifest
from domain.canonical import canonical_json, sha256_hex

REPLAY = "settings"
"""In a manifest's `extra`: settings that a server which replays the log must not have lower."""

LABEL = "label"
"""In a manifest's `extra`: whose backup it is."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class BackupRecords:
    """Manifests, labels and holds of one server's backups in a bucket, under `prefix` (with its slash)."""

    def __init__(self, bucket: BackupBucket, prefix: str) -> None:
        self._bucket = bucket
        self._folder = f"{prefix}slipway/"

    def finish(
        self, backup: Backup, objects: tuple[StoredObject, ...], *, label: str, extra: Mapping[str, Any]
    ) -> Backup:
        """Write the manifest of a backup that is whole; returns the backup with its hash."""
        facts = {**backup.as_dict(), "manifest_sha256": ""}
        manifest = BackupManifest(facts, objects, {**extra, LABEL: label})
        self._bucket.put(self._manifest(backup.id), canonical_json(manifest.as_dict()).encode())
        self._bucket.put(self._label(label), backup.id.encode())
        return replace(backup, manifest_sha256=manifest.sha256)

    def labelled(self, label: str) -> Backup | None:
        """The finished backup of a label."""
        found = self._bucket.get(self._label(label))
        return self.backup(found[0].decode()) if found else None

    def manifest(self, backup: str) -> BackupManifest | None:
        value = self._bucket.get_json(self._manifest(backup)) if _ID.fullmatch(backup) else None
        try:
            manifest = None if value is None else read_manifest(value)
            # one that says nothing which we could read as a backup is none either
            return manifest if manifest and read_backup(manifest.facts).id == backup else None
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    def backup(self, backup: str) -> Backup | None:
        """A finished backup as it was recorded, with its hold."""
        manifest = self.manifest(backup)
        if manifest is None:
            return None
        held = self._bucket.get(self._hold(backup))
        known = read_backup(manifest.facts)
        return replace(known, manifest_sha256=manifest.sha256, hold=held[0].decode() if held else "")

    def finished(self) -> dict[str, Backup]:
        """Every finished backup by id."""
        folder = f"{self._folder}manifests/"
        ids = [one.key.removeprefix(folder).removesuffix(".json") for one in self._bucket.objects(folder)]
        found = ((one, self.backup(one)) for one in ids)
        return {one: backup for one, backup in found if backup is not None}

    def replay_settings(self, backup: str) -> dict[str, str]:
        """What a restored server must be started with, besides its recovery's settings."""
        manifest = self.manifest(backup)
        return dict(manifest.extra.get(REPLAY, {})) if manifest else {}

    def hold(self, backup: str, reason: str) -> None:
        if reason:
            self._bucket.put(self._hold(backup), reason.encode())
        else:
            self._bucket.remove([self._hold(backup)])

    def forget(self, backup: str) -> None:
        """Remove what is written about a backup, the manifest last: until then it can be forgotten again."""
        self._bucket.remove([self._hold(backup), self._manifest(backup)])

    def verify(self, backup: str, expected_sha256: str, *, folder: str = "") -> Evidence:
        """Read every object again, and compare; what lies in the backup's `folder` unrecorded is damage, too: the
        engine's own tool may take it for a part of the backup."""
        manifest = self.manifest(backup)
        if manifest is None:
            return Evidence(backup, unavailable=f"no manifest was recorded with {backup}")
        if expected_sha256 and manifest.sha256 != expected_sha256:
            return Evidence(backup, damage=("the manifest is not the one that the ledger has",))
        damage = [words for one in manifest.objects if (words := self._compare(one))]
        recorded = {one.key for one in manifest.objects}
        there = self._bucket.objects(folder) if folder else []
        damage += [f"{one.key} was not recorded" for one in there if one.key not in recorded]
        damage += self._compare_label(backup, str(manifest.extra.get(LABEL, "")))
        size = sum(one.size_bytes for one in manifest.objects)
        return Evidence(backup, len(manifest.objects), size, tuple(damage))

    def _compare(self, recorded: StoredObject) -> str:
        found = self._bucket.hash(recorded.key)
        if found is None:
            return f"{recorded.key} is missing"
        if found.size_bytes != recorded.size_bytes:
            return f"{recorded.key} has {found.size_bytes} bytes, {recorded.size_bytes} were recorded"
        return "" if found.sha256 == recorded.sha256 else f"{recorded.key} differs from what was recorded"

    def _compare_label(self, backup: str, label: str) -> list[str]:
        """By its label a run that is taken up again finds its backup: it must not find another."""
        found = self._bucket.get(self._label(label)) if label else None
        if label and (found is None or found[0] != backup.encode()):
            return [f"{self._label(label)} does not lead to {backup}"]
        return []

    def _manifest(self, backup: str) -> str:
        return f"{self._folder}manifests/{backup}.json"

    def _hold(self, backup: str) -> str:
        return f"{self._folder}holds/{backup}"

    def _label(self, label: str) -> str:
        return f"{self._folder}labels/{sha256_hex(label)[:32]}"
