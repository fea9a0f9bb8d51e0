"""Settings of an application: which version a rollout takes, and what its processes are given.

Only what starts a process of that application in that environment asks for the values; no task here has arguments or
results that could hold one.
"""

from blocks.world import open_world
from domain.revision import name_revision, settings_of
from domain.rollout import BLOCKING_KINDS, blocked_settings, explain_blocked_settings
from domain.settings import SettingsVersion, hide_values
from tasks.recording import effect_task, reading_task


@effect_task
def choose_settings(run: str, application: str, environment: str, release: str) -> str:
    """Choose the newest settings of an environment for a release; returns the revision.

    Effect: none; kept, since a flow that suspends runs again from its top, and what was begun goes on as it began.
    """
    return name_revision(release, read_settings(application, environment).version)


@reading_task
def read_blocked_settings(application: str, environment: str) -> str:
    """Say why the newest settings of an environment may not go live; empty where they may."""
    entries = open_world().ledger.entries(kinds=BLOCKING_KINDS, application=application)
    blocked = blocked_settings(entries, environment=environment)
    version = read_settings(application, environment).version
    return explain_blocked_settings(version, blocked, application=application, environment=environment)


def read_settings(application: str, environment: str) -> SettingsVersion:
    """Read the newest settings of an environment, without the values of secrets."""
    return open_world().settings.latest(application, environment)


def read_variables(application: str, environment: str, revision: str) -> dict[str, str]:
    """Read what the processes of a revision are given, secrets included: never log it, never return it from a task."""
    return open_world().settings.values(application, environment, settings_of(revision))


def clean_text(text: str, application: str, environment: str, revision: str) -> str:
    """Take the values of secrets out of what a process wrote."""
    settings = open_world().settings
    names = settings.get(application, environment, settings_of(revision)).secrets
    values = settings.values(application, environment, settings_of(revision)) if names else {}
    return hide_values(text, {name: values[name] for name in names})
