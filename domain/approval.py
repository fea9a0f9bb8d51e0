"""Approvals: what is shown, what it is bound to, and whether an answer counts.

An approval is a record, not a sleeping process: it holds the hash of what was shown, and `cd` compares again on waking.
Silence is no. Called by `flows/cd.py` and `flows/rollback.py` through `tasks/approval.py`.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from domain.canonical import digest_of
from domain.catalogue import Language, say
from domain.delivery import Commit
from domain.kept import restore_fact
from domain.people import is_among
from domain.ports import Approver
from domain.release import short
from domain.roles import Role, has_role

LISTED_MAX = 8
"""How many commits, settings or migrations a form lists; it has one screen."""

Refusal = Literal["unknown", "role", "self", "wrong", "used", "locked", "bypassed", "malformed"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was proven before: in which environment, what, how it ended and how long it took."""

    environment: str
    what: str
    result: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that differs between the live release and the new one; empty where it is not set."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything that an approver is shown and agrees to. `live` is a revision, empty where nothing is
    live yet.

    `requesters` are all names of who pushed or wrote what is between `live` and `commit`; `is_push_signed` says that
    the `requester` was authenticated by the forge. `configuration_hash` covers the whole of the rendered configuration,
    of which `configuration` is the difference. `settings_version` is the version of the environment's settings that
    would go live, `secrets` its secrets as `NAME@version`. `isolation` says what the machine that built and checked the
    release could not isolate. `is_unrelated` says that what is live is not in the commit's
    history.
    """

    application: str
    environment: str
    release: str
    commit: str
    live: str
    requester: str
    commits: tuple[Commit, ...]
    configuration: tuple[Difference, ...]
    migrations: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    image: str = ""
    settings_version: int = 0
    secrets: tuple[str, ...] = ()
    requesters: tuple[str, ...] = ()
    is_push_signed: bool = False
    configuration_hash: str = ""
    is_unrelated: bool = False
    isolation: str = ""

    def __setstate__(self, state: list[Any]) -> None:
        restore_fact(self, state)

    @property
    def hash(self) -> str:
        """What an approval is bound to: any change in what was shown changes it."""
        return digest_of(_as_json(asdict(self)))


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def judge_person(
    approver: Approver | None,
    *,
    role: str,
    requesters: Collection[str],
    application: str = "",
    environment: str = "",
) -> Refusal | None:
    """Decide whether this person may decide at all; None when they may.

    Args:
        approver: the enrolled person, None where the name is unknown.
        role: what the decision takes; an administrator has every role.
        requesters: names, log-ins and e-mail addresses of those who asked; compared as `domain/people.py` does.
        application, environment: what it is about; empty means all of them, which takes a role for all of them.
    """
    if approver is None:
        return "unknown"
    if not has_role(approver.roles, Role(role, application, environment)):
        return "role"
    return "self" if is_among(approver, requesters) else None


def compare_configuration(before: dict[str, Any] | None, after: dict[str, Any]) -> tuple[Difference, ...]:
    """List the settings of `slipway.toml` that differ, by dotted key; all of them against an empty file."""
    old, new = _flatten(before or {}), _flatten(after)
    return tuple(
        Difference(key=key, before=old.get(key, ""), after=new.get(key, ""))
        for key in sorted(old.keys() | new.keys())
        if old.get(key, "") != new.get(key, "")
    )


def _flatten(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        flat: dict[str, str] = {}
        for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
            flat.update(_flatten(item, f"{prefix}.{key}" if prefix else str(key)))  # pyright: ignore[reportUnknownArgumentType]
        return flat
    if isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):  # pyright: ignore[reportUnknownVariableType]
        return _flatten({str(index): item for index, item in enumerate(value)}, prefix)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return {prefix: str(value)}


def explain_request(
    shown: Shown,
    *,
    deadline: str,
    refusal: str = "",
    report_url: str = "",
    language: Language = "en",
    review: str = "",
) -> str:
    """Render the form's description: what, which digest, what differs, what was proven, what each answer does.

    Args:
        shown: what the approval binds.
        deadline: when silence becomes no, as people read it.
        refusal: why the answer before did not count; empty at the first asking.
        report_url: where the long report is, empty where there is none.
        review: how its commits were reviewed, as `domain/review.py` says it; empty means unknown.
    """
    heading = say("approval.heading", language=language, application=shown.application, environment=shown.environment)
    parts = [f"## {heading}"]
    if refusal:
        parts.append(f"> **{say('approval.asked_again', language=language)}** {refusal}")
    parts.append(_facts_table(shown, deadline=deadline, language=language, review=review))
    if shown.is_unrelated:
        parts.append(say("approval.unrelated", language=language))
    parts.append(_differences(shown, language=language))
    parts.append(_proofs(shown.evidence, language=language))
    if shown.isolation:
        parts.append(f"> ⚠️ {shown.isolation}")
    if report_url:
        parts.append(f"[{say('approval.report', language=language)}]({report_url})")
    parts.append(say("approval.consequences", language=language, environment=shown.environment, deadline=deadline))
    # whole digests last: they are wider than the dialog
    digests = [f"{say('approval.release', language=language)} `{shown.release}`"]
    digests += [f"{say('approval.image', language=language)} `{shown.image}`"] if shown.image else []
    parts.append("\n\n".join(digests))
    return "\n\n".join(parts)


def _facts_table(shown: Shown, *, deadline: str, language: Language, review: str) -> str:
    rows = [
        ("approval.release", f"`{short(shown.release)}`"),
        ("approval.commit", f"`{short(shown.commit)}`"),
        *([("approval.image", f"`{short(shown.image.removeprefix('sha256:'))}`")] if shown.image else []),
        ("approval.live", f"`{short(shown.live)}`" if shown.live else say("approval.nothing_live", language=language)),
        ("approval.requester", _requester(shown, language=language)),
        ("review.title", review or say("review.unknown", language=language)),
        *([("approval.settings", str(shown.settings_version))] if shown.settings_version else []),
        ("approval.deadline", deadline),
    ]
    body = "\n".join(f"| {say(key, language=language)} | {value} |" for key, value in rows)
    return f"| | |\n| --- | --- |\n{body}"


def _requester(shown: Shown, *, language: Language) -> str:
    claimed = "" if shown.is_push_signed else f" ({say('approval.requester_claimed', language=language)})"
    return (escape(shown.requester) or "–") + claimed


def _differences(shown: Shown, *, language: Language) -> str:
    """List what is new against the live release; against nothing, everything is, and only counts are said."""
    lines = [f"### {say('approval.differences', language=language)}"]
    settings = [f"`{d.key}`: {code(d.before)} → {code(d.after)}" for d in shown.configuration]
    for key, found in (
        ("approval.commits", [f"`{short(c.sha)}` {escape(c.title)} ({escape(c.author)})" for c in shown.commits]),
        ("approval.configuration", settings if shown.live else []),
        ("approval.migrations", [f"`{name}`" for name in shown.migrations]),
        *([("approval.secrets", [f"`{reference}`" for reference in shown.secrets])] if shown.secrets else []),
    ):
        count = len(settings) if key == "approval.configuration" else len(found)
        lines.append(_titled_list(f"**{say(key, language=language)}** ({count})", found))
    return "\n\n".join(lines)


def _titled_list(title: str, items: Sequence[str]) -> str:
    """Write a title and at most `LISTED_MAX` items; how many more there are is said."""
    more = [f"… +{len(items) - LISTED_MAX}"] if len(items) > LISTED_MAX else []
    listed = [*items[:LISTED_MAX], *more]
    return "\n".join([title, *(["", *(f"- {item}" for item in listed)] if listed else [])])


def _proofs(evidence: Sequence[Evidence], *, language: Language) -> str:
    """List what was proven, a line for each environment."""
    environments = dict.fromkeys(item.environment for item in evidence)
    lines = [
        f"- **{environment}:** "
        + "; ".join(
            f"{escape(item.what)} {item.result} ({item.milliseconds / 1000:.1f} s)"
            for item in evidence
            if item.environment == environment
        )
        for environment in environments
    ]
    return "\n".join([f"### {say('approval.proven', language=language)}", "", *(lines or ["–"])])


def escape(text: str) -> str:
    """Make foreign text safe inside a markdown table: no markup, no line breaks, at most 160 characters."""
    cleaned = " ".join(text.split())[:160]
    for sign in "\\`*_[]<>|#!":
        cleaned = cleaned.replace(sign, f"\\{sign}" if sign not in "<>" else "")
    return cleaned


def code(text: str) -> str:
    """Show foreign text as code, on one line."""
    return f"`{' '.join(text.split())[:80].replace('`', chr(39)).replace('|', '/')}`" if text else "–"
