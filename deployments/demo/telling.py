"""Which entries of the ledger the demo's timeline tells, and in which words.

Pure: an entry in, a text's key and values out. What is not told here is in `slipway history`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from domain.catalogue import Language
from domain.ledger import Entry
from domain.release import short
from domain.verdict import Verdict, explain_judgement, read_judgement

NOBODY: Mapping[str, str] = MappingProxyType({})
MARKS_OF_VERDICTS = {Verdict.PASS: "ok", Verdict.FAIL: "bad", Verdict.UNCLEAR: "wait"}


@dataclass(frozen=True, slots=True)
class Told:
    """A line of the timeline: the key of its text (`demo.<key>`), its mark, its values."""

    key: str
    mark: str = ""
    values: dict[str, Any] = field(default_factory=dict[str, Any])


def tell_entry(entry: Entry, *, language: Language, names: Mapping[str, str] = NOBODY) -> Told | None:
    """Put one entry into words; None for what the timeline leaves out.

    Args:
        names: what the demo calls a release (`good`), by its digest.
    """
    if entry.kind == "traffic.shifted":
        return _shifted(entry, {short(digest): name for digest, name in names.items()})
    teller = _TELLERS.get(entry.kind)
    return teller(entry, language) if teller else None


def _pinned(entry: Entry, language: Language) -> Told:
    manifest = entry.data["manifest"]
    size_mb = manifest["bundle"]["size_bytes"] / 1e6
    values = {"release": short(entry.event.release), "commit": short(manifest["commit"]), "size": f"{size_mb:.1f}"}
    return Told("pinned", "ok", values)


def _checked(entry: Entry, language: Language) -> Told:
    """One check of `ci`, or its build."""
    result = str(entry.data["result"])
    seconds = int(entry.data["milliseconds"]) / 1000
    values = {"name": entry.data["name"], "result": result, "seconds": f"{seconds:.1f}"}
    return Told("checked", "" if result == "passed" else "bad", values)


def _red(entry: Entry, language: Language) -> Told:
    return Told("red", "bad", {"cause": " ".join(str(entry.data["cause"]).split())[:300]})


def _proven(entry: Entry, language: Language) -> Told | None:
    """In test and staging each proof is worth a line; production has its own lines."""
    if entry.event.environment == "production":
        return None
    seconds = int(entry.data["milliseconds"]) / 1000
    values = {"environment": entry.event.environment, "what": entry.data["what"], "result": entry.data["result"]}
    return Told("proven", "", {**values, "seconds": f"{seconds:.1f}"})


def _shifted(entry: Entry, names: Mapping[str, str]) -> Told | None:
    """Who gets which share of a production site, the smaller share first: that is the one to watch."""
    if entry.event.environment != "production":
        return None
    shares = sorted((percent, digest) for digest, percent in entry.data["shares"].items() if percent)
    said = ", ".join(f"{percent} % {digest}{_called(names.get(digest, ''))}" for percent, digest in shares)
    return Told("shifted", "", {"site": entry.event.site, "shares": said or "–"})


def _called(name: str) -> str:
    return f" ({name})" if name else ""


def _judged(entry: Entry, language: Language) -> Told:
    judgement = read_judgement(entry.data)
    report = explain_judgement(judgement, language=language).splitlines()[0].replace("**", "")
    mark = MARKS_OF_VERDICTS.get(judgement.verdict or Verdict.UNCLEAR, "")
    return Told("judged", mark, {"step": entry.data["step"], "report": report})


def _completed(entry: Entry, language: Language) -> Told:
    values = {"environment": entry.event.environment, "release": short(entry.event.release)}
    return Told("live" if entry.event.environment == "production" else "taken", "ok", values)


def _rolled_back(entry: Entry, language: Language) -> Told:
    to = short(str(entry.data.get("to", ""))) or "–"
    values = {"to": to, "release": short(entry.event.release), "verified": entry.data.get("verified", "")}
    return Told("rolled_back", "ok", values)


def _asked(entry: Entry, language: Language) -> Told:
    return Told("asked", "wait", {"url": entry.data["url"], "deadline": str(entry.data["deadline"])[:19]})


def _granted(entry: Entry, language: Language) -> Told:
    return Told("granted", "ok", {"actor": entry.event.actor, "decision": entry.data["decision"]})


def _refused(entry: Entry, language: Language) -> Told:
    return Told("refused", "bad", {"actor": entry.event.actor, "reason": entry.data["reason"]})


def _stopped(entry: Entry, language: Language) -> Told:
    cause = " ".join(str(entry.data["cause"]).split())[:300]
    return Told("stopped", "bad", {"outcome": str(entry.data["outcome"]).replace("_", " "), "cause": cause})


def _blocked(entry: Entry, language: Language) -> Told:
    return Told("blocked", "", {"release": short(entry.event.release)})


def _incident(entry: Entry, language: Language) -> Told:
    return Told("incident", "", {"severity": entry.data["severity"], "title": entry.data["title"], "seq": entry.seq})


def _authorised(entry: Entry, language: Language) -> Told:
    return Told("authorised", "ok", {"actor": entry.event.actor, "reason": entry.data["reason"]})


def _brought_back(entry: Entry, language: Language) -> Told:
    values = {"release": short(entry.event.release), "verified": entry.data.get("verified", "")}
    return Told("brought_back", "ok", values)


_TELLERS = {
    "build.ended": _checked,
    "check.ended": _checked,
    "ci.failed": _red,
    "release.pinned": _pinned,
    "proof.given": _proven,
    "verdict.given": _judged,
    "rollout.completed": _completed,
    "rollout.rolled_back": _rolled_back,
    "approval.requested": _asked,
    "approval.granted": _granted,
    "approval.refused": _refused,
    "cd.stopped": _stopped,
    "digest.blocked": _blocked,
    "incident.opened": _incident,
    "rollback.authorised": _authorised,
    "rollback.completed": _brought_back,
}
