"""Following the load: a policy as data, approved once by its hash, and what one look at the load leads to.

The rule of proportion is `advice.follow_load`; here is what surrounds it: bounds, window, cool-down, and the words for
each decision. Used by `flows/load_policy.py` and `flows/follow_load.py`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from domain.approval import escape
from domain.canonical import digest_of
from domain.catalogue import Language, say
from domain.errors import ConfigError
from domain.ledger import Entry

NOUN = "load_policy"
GRANTED = "load_policy.granted"
Unit = Literal["requests", "cores"]
INSTANCES_MAX = 64

_BOUNDS: dict[str, tuple[float, float]] = {
    "least": (1, INSTANCES_MAX),
    "most": (1, INSTANCES_MAX),
    "target_ratio": (0.1, 1.0),
    "capacity": (0.01, 1_000_000),
    "measure_s": (1, 50),
    "window_s": (0, 86_400),
    "cool_down_s": (0, 86_400),
}


@dataclass(frozen=True, slots=True)
class LoadPolicy:
    """Between which bounds the number of instances follows the load of an application in an environment.

    Attributes:
        least, most: instances on each site.
        target_ratio: the share of their capacity at which instances are to work.
        capacity: of one instance, in requests per second or processor cores.
        measure_s: how long the load is measured at each look.
        window_s: fewer instances only if as few would have done at every look of so long.
        cool_down_s: after a change nothing is changed for so long.
    """

    application: str
    environment: str
    least: int
    most: int
    target_ratio: float
    capacity: float
    unit: Unit = "requests"
    measure_s: float = 15
    window_s: float = 300
    cool_down_s: float = 120

    @property
    def hash(self) -> str:
        """What an approval is bound to."""
        return digest_of(asdict(self))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; what the ledger keeps."""
        return asdict(self)


def check_policy(policy: LoadPolicy) -> LoadPolicy:
    """Return a policy that can be followed. Raises: ConfigError naming the field, its value, and what is allowed."""
    for name, (low, high) in _BOUNDS.items():
        value = getattr(policy, name)
        if not low <= value <= high:
            raise ConfigError(f"{name} = {value:g} is not possible in a policy. Give {low:g} to {high:g}.")
    if policy.least > policy.most:
        raise ConfigError(f"least = {policy.least} is more than most = {policy.most}. Give least the smaller one.")
    return policy


def policies(entries: Sequence[Entry]) -> list[LoadPolicy]:
    """The policies in force: of each place the newest that was granted, unless that withdrew it.

    `entries` may be of any kind, oldest first; those of `GRANTED` count.
    """
    found: dict[tuple[str, str], LoadPolicy] = {}
    for entry in entries:
        if entry.kind != GRANTED:
            continue
        place = (entry.event.application, entry.event.environment)
        after = entry.data.get("after")
        if after:
            found[place] = LoadPolicy(**after)
        else:
            found.pop(place, None)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class PolicyShown:
    """What an approver of a policy is shown; `after` is None where the one in force is withdrawn."""

    application: str
    environment: str
    before: LoadPolicy | None
    after: LoadPolicy | None
    requester: str = ""

    @property
    def hash(self) -> str:
        return digest_of(asdict(self))


def explain_policy(shown: PolicyShown, *, deadline: str, refusal: str = "", language: Language = "en") -> str:
    """Render the form's description: the policy in force beside the new one, and what each answer does."""
    heading = say(
        "load_policy.heading", language=language, application=shown.application, environment=shown.environment
    )
    parts = [f"## {heading}"]
    if refusal:
        parts.append(f"> **{say('approval.asked_again', language=language)}** {refusal}")
    before = _write(shown.before, none="load_policy.none", language=language)
    after = _write(shown.after, none="load_policy.withdrawn", language=language)
    head = f"| | {say('scale.now', language=language)} | {say('scale.then', language=language)} |\n| --- | --- | --- |"
    rows = "\n".join(f"| {say(key, language=language)} | {before[key]} | **{after[key]}** |" for key in before)
    asked = escape(shown.requester) or say("scale.nobody", language=language)
    parts.append(f"{head}\n{rows}\n| {say('scale.asked_by', language=language)} | | {asked} |")
    parts.append(say("load_policy.consequences", language=language, deadline=deadline))
    return "\n\n".join(parts)


def _write(policy: LoadPolicy | None, *, none: str, language: Language) -> dict[str, str]:
    keys = ("bounds", "target", "capacity", "measured", "window", "cool_down")
    if policy is None:
        return {f"load_policy.{key}": say(none, language=language) for key in keys}
    unit = say(f"load_policy.{policy.unit}", language=language)
    values = (
        f"{policy.least}–{policy.most}",
        f"{100 * policy.target_ratio:g} %",
        f"{policy.capacity:g} {unit}",
        f"{policy.measure_s:g} s",
        f"{policy.window_s:g} s",
        f"{policy.cool_down_s:g} s",
    )
    return {f"load_policy.{key}": value for key, value in zip(keys, values, strict=True)}


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the load of the busiest site: how much, by how many instances it was carried, what they call for.

    `wanted` is by this look alone, within the bounds; `decided` is what came of it, in words of the catalogue.
    """

    at: datetime
    load: float
    instances: int
    wanted: int
    decided: str = "steady"
    detail: str = ""


def wanted_instances(policy: LoadPolicy, *, load: float, instances: int) -> int:
    """How many instances a load calls for by itself: in proportion, inside the policy's bounds."""
    # numpy comes with advice, and nobody else here needs it
    from domain.advice import follow_load

    ratio = load / (instances * policy.capacity)
    least, most = policy.least, policy.most
    return follow_load(instances, used_ratio=ratio, target_ratio=policy.target_ratio, least=least, most=most)


@dataclass(frozen=True, slots=True)
class Decision:
    """How many instances there should be, and the word for why (`load.<word>` of the catalogue)."""

    instances: int
    word: str
    detail: str = ""


def decide(
    policy: LoadPolicy,
    *,
    instances: int,
    wanted: int,
    earlier: Sequence[Look],
    changed_at: datetime | None,
    now: datetime,
) -> Decision:
    """Decide what a look leads to: more at once, fewer only if that lasts, nothing while it cools down.

    Args:
        wanted: by this look alone, within the bounds.
        earlier: looks before this one, oldest first.
        changed_at: when the size was changed last, by whoever.
    """
    if wanted == instances:
        return Decision(instances, "steady")
    if changed_at is not None and (now - changed_at).total_seconds() < policy.cool_down_s:
        return Decision(instances, "cooling", f"{policy.cool_down_s:g}")
    if not policy.least <= instances <= policy.most:
        return Decision(wanted, "bounds")
    if wanted > instances:
        return Decision(wanted, "out")
    since = now - timedelta(seconds=policy.window_s)
    recent = [look.wanted for look in earlier if look.at >= since]
    is_long_enough = policy.window_s == 0 or any(look.at <= since for look in earlier)
    fewer = min(instances, max([wanted, *recent]))
    if not is_long_enough or fewer == instances:
        return Decision(instances, "watching", f"{policy.window_s:g}")
    return Decision(fewer, "in")


def say_decision(look: Look, *, language: Language) -> str:
    """Say what was decided at a look."""
    values = {"instances": look.detail, "seconds": look.detail, "why": escape(look.detail)}
    return say(f"load.{look.decided}", language=language, **values)
