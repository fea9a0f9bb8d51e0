"""A revision: a release together with one version of an environment's settings, as one short text.

`<digest>` where nothing was ever set there, else `<digest>@<version>`. Wherever the instances of one release could have
different settings (a canary of a change of settings has exactly that), a revision stands in the place of a digest: on
targets, behind load balancers, in rollouts and in what is live. In the ledger's field `release` stands the digest, and
the version in the entry's data as `settings`; entries are read back with `revision_of`. Why: docs/decisions/0007.
"""

from domain.ledger import Entry

SETTINGS = "settings"
"""The key of the version in an entry's data."""


def name_revision(release: str, settings: int) -> str:
    """Name a release with a version of settings; 0 is "nothing was ever set"."""
    return f"{release_of(release)}@{settings}" if settings else release_of(release)


def release_of(revision: str) -> str:
    """The digest of a revision."""
    return revision.partition("@")[0]


def settings_of(revision: str) -> int:
    """The version of the settings of a revision; 0 where it has none."""
    return int(revision.partition("@")[2] or 0)


def revision_of(entry: Entry) -> str:
    """The revision that an entry is about."""
    return name_revision(entry.event.release, int(entry.data.get(SETTINGS, 0)))


def blame(bad: str, previous: str) -> str:
    """Say what is to be refused from now on: the digest, or only its settings where nothing else had changed."""
    only_settings = bad != previous and release_of(bad) == release_of(previous)
    return bad if only_settings else release_of(bad)
