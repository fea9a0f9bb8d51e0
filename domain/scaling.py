"""A change of size as an approver sees it: from what to what, why, what it takes; and what lets a run make it.

Like a release's approval (`domain/approval.py`), the answer is bound to the hash of what was shown. Used by
`flows/scale.py` and `tasks/scaling.py`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from domain.approval import escape
from domain.canonical import digest_of
from domain.catalogue import Language, say
from domain.cost import Costs, write_costs
from domain.errors import RefusedError
from domain.ledger import Entry
from domain.load_policy import policies
from domain.release import short
from domain.size import MIB, SIZE_KINDS, Size, read_size_of, settled_size

NOUN = "scale"
AUTHORISING_KINDS = ("scale.granted", "load_policy.granted", *SIZE_KINDS)
"""The entries of one application and environment that say who may make it which size."""


@dataclass(frozen=True, slots=True)
class SizeShown:
    """Everything that an approver is shown and agrees to.

    `release` is the live revision. `before` and `after` are what the ledger says and would say; `now` and `then` the
    same with what `slipway.toml` says put in.
    """

    application: str
    environment: str
    release: str
    sites: tuple[str, ...]
    before: Size
    after: Size
    now: Size
    then: Size
    reason: str
    requester: str = ""
    costs: Costs = field(default_factory=Costs)

    @property
    def hash(self) -> str:
        """What an approval is bound to: any change in what was shown changes it."""
        value = asdict(self)
        costs = write_costs(self.costs, language="en")
        return digest_of({**value, "sites": list(self.sites), "costs": list(costs or ())})

    @property
    def replaces(self) -> bool:
        """Whether every instance is replaced, not only some added or taken away."""
        return (self.now.limits, self.now.workers) != (self.then.limits, self.then.workers)


def explain_size(shown: SizeShown, *, deadline: str, refusal: str = "", language: Language = "en") -> str:
    """Render the form's description: from what to what, what it takes in all, why, what each answer does."""
    place = {"application": shown.application, "environment": shown.environment}
    parts = [f"## {say('scale.heading', language=language, **place)}"]
    if refusal:
        parts.append(f"> **{say('approval.asked_again', language=language)}** {refusal}")
    parts.append(_sizes_table(shown, language=language))
    asked = escape(shown.requester) or say("scale.nobody", language=language)
    facts = [
        ("scale.reason", escape(shown.reason)),
        ("scale.asked_by", asked),
        ("approval.live", f"`{short(shown.release)}`"),
        ("approval.deadline", deadline),
    ]
    rows = "\n".join(f"| {say(key, language=language)} | {value} |" for key, value in facts)
    parts.append(f"| | |\n| --- | --- |\n{rows}")
    if shown.replaces:
        parts.append(say("scale.replaces", language=language))
    parts.append(say("scale.consequences", language=language, deadline=deadline))
    return "\n\n".join(parts)


def _sizes_table(shown: SizeShown, *, language: Language) -> str:
    sites = ", ".join(shown.sites)
    none = say("scale.unlimited", language=language)
    rows: list[tuple[str, str, str]] = []
    for name in ("instances", "memory_bytes", "cpu_share", "workers"):
        before, after = (write_part(name, getattr(size, name)) or none for size in (shown.now, shown.then))
        rows.append((say(f"scale.{name}", language=language), before, after))
    in_all = [f"{_in_all(shown, size, 1):g}" for size in (shown.now, shown.then)]
    rows.append((say("scale.in_all", language=language, sites=sites), in_all[0], in_all[1]))
    for name, title in (("memory_bytes", "scale.memory_in_all"), ("cpu_share", "scale.cpu_in_all")):
        if getattr(shown.now, name) or getattr(shown.then, name):
            each = (_in_all(shown, size, getattr(size, name)) for size in (shown.now, shown.then))
            before, after = (write_part(name, value) or none for value in each)
            rows.append((say(title, language=language), before, after))
    if costs := write_costs(shown.costs, language=language):
        rows.append((say("scale.cost", language=language), escape(costs[0]), escape(costs[1])))
    head = f"| | {say('scale.now', language=language)} | {say('scale.then', language=language)} |\n| --- | --- | --- |"
    body = "\n".join(
        f"| {title} | {before} | {f'**{after}**' if after != before else after} |" for title, before, after in rows
    )
    return f"{head}\n{body}"


def _in_all(shown: SizeShown, size: Size, each: float | None) -> float | None:
    return None if each is None else len(shown.sites) * (size.instances or 0) * each


def write_part(name: str, value: float | None) -> str:
    """Write one part of a size as people read it; empty where there is none."""
    if value is None:
        return ""
    return f"{value / MIB:,.0f} MiB" if name == "memory_bytes" else f"{value:g}"


def write_size(size: Size) -> str:
    """Write a size in one line: `3 instances, memory_bytes 512 MiB`."""
    parts = [f"{name} {write_part(name, value)}" for name, value in size.as_dict().items()]
    return ", ".join(parts) or "as slipway.toml says"


def find_size_authority(entries: Sequence[Entry], *, run: str, size: Size) -> str:
    """Say what lets a run make an environment this size; an empty text where nothing does.

    Going back to what the ledger says needs nobody's leave; within the bounds of an approved policy, no second one.

    Args:
        entries: those of `AUTHORISING_KINDS` of the application and environment, oldest first.
    """
    settled = settled_size([entry for entry in entries if entry.kind in SIZE_KINDS])
    if size == settled:
        return "it is the size that the ledger says"
    for entry in entries:
        if entry.kind == "scale.granted" and entry.event.run == run and read_size_of(_after(entry)) == size:
            return f"approved by {entry.event.actor} (entry {entry.seq})"
    for policy in policies(entries):
        is_within = size.instances is not None and policy.least <= size.instances <= policy.most
        if is_within and size == _with_instances(settled, size.instances):
            return f"within the policy {policy.hash[:12]}"
    return ""


def _after(entry: Entry) -> dict[str, Any]:
    return dict(entry.data.get("after", {}))


def _with_instances(size: Size, instances: int | None) -> Size:
    return Size(instances, size.memory_bytes, size.cpu_share, size.workers)


def refuse_unauthorised_size(authority: str, *, run: str, application: str, environment: str, size: Size) -> None:
    """Raises: RefusedError where nothing in the ledger lets the run do this."""
    if not authority:
        raise RefusedError(
            f"Nothing in the ledger lets run {run} make {application} in {environment} another size "
            f"({write_size(size)}). Nothing was changed. Approve it at the gate of the flow `scale`."
        )


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A gate about a size or a policy that was asked and has no end yet."""

    run: str
    application: str
    environment: str
    noun: str
    gate: str
    deadline: str


QUESTION_NOUNS = ("scale", "load_policy", "restore")
QUESTION_OPENING = tuple(f"{noun}.requested" for noun in QUESTION_NOUNS)
QUESTION_CLOSING = tuple(f"{noun}.{end}" for noun in QUESTION_NOUNS for end in ("granted", "rejected", "expired"))


def open_questions(entries: Sequence[Entry]) -> list[OpenQuestion]:
    """Find the gates without an outcome; `entries` are those of the two kinds above, oldest first."""
    pending: dict[tuple[str, str], OpenQuestion] = {}
    for entry in entries:
        event, gate = entry.event, str(entry.data.get("gate", ""))
        if entry.kind in QUESTION_OPENING:
            noun, deadline = entry.kind.partition(".")[0], str(entry.data.get("deadline", ""))
            pending[event.run, gate] = OpenQuestion(
                event.run, event.application, event.environment, noun, gate, deadline
            )
        else:
            pending.pop((event.run, gate), None)
    return list(pending.values())
