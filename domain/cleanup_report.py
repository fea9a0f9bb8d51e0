"""A clean-up as a page: which policy would delete how much, what it may, what went, and what became free over time."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from domain.catalogue import Language, say

_POINTS_MAX = 200


def explain_cleanup(
    outcomes: Sequence[dict[str, Any]], freed: Sequence[tuple[datetime, float]] = (), *, language: Language = "en"
) -> str:
    """Write the outcome of a run as markdown.

    Args:
        outcomes: of each policy: application, environment, policy, problem, course, reasons, plan, done.
        freed: when clean-ups ended and the bytes that became free, oldest first.
    """
    rows = [_row(one, language=language) for one in outcomes]
    parts = [
        f"## {say('cleanup.heading', language=language)}",
        "\n".join(
            [f"| {say('cleanup.columns', language=language)} |", "| --- | --- | ---: | ---: | ---: | --- |", *rows]
        )
        if rows
        else say("cleanup.none", language=language),
        *(_details(one, language=language) for one in outcomes if one["plan"]),
        _plot(freed, language=language),
    ]
    return "\n\n".join(part for part in parts if part)


def _row(one: dict[str, Any], *, language: Language) -> str:
    preview = one["plan"]["preview"] if one["plan"] else {}
    done = one["done"]
    rows, size = (
        (done["rows"], done["size_bytes"]) if done else (preview.get("rows", "–"), preview.get("size_bytes", 0))
    )
    share = f"{_share(preview):.1f} %" if preview else "–"
    place = "/".join(part for part in (one["application"], one["environment"]) if part)
    return f"| {place} | {one['policy'] or '–'} | {rows} | {share} | {write_bytes(size)} | {_word(one, language)} |"


def _share(preview: dict[str, Any]) -> float:
    return 100 * preview["rows"] / preview["total_rows"] if preview["total_rows"] else 0.0


def _word(one: dict[str, Any], language: Language) -> str:
    if one["problem"]:
        return f"**{say('cleanup.failed', language=language)}** {_plain(one['problem'])}"
    if one["done"]:
        return say("cleanup.done", language=language, left=one["done"]["left_rows"])
    reasons = " ".join(explain_reasons(one["reasons"], language=language))
    course = say(f"cleanup.course_{one['course']}", language=language)
    return f"{course} {reasons}".strip()


def explain_reasons(reasons: Sequence[Any], *, language: Language = "en") -> list[str]:
    """Reasons of a decision as people read them."""
    return [
        say(key, language=language, **{name: _written(name, value) for name, value in values.items()})
        for key, values in reasons
    ]


def _written(name: str, value: Any) -> Any:
    return f"{value:,}" if isinstance(value, int) else value


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:400]


def _details(one: dict[str, Any], *, language: Language) -> str:
    """What an approval needs: hashes, cut-off, range, sample."""
    plan = one["plan"]
    preview = plan["preview"]
    related = ", ".join(f"{name} {rows}" for name, rows in preview["related"]) or "–"
    sample = "; ".join(f"`{_plain(key)}`" for key in preview["sample"]) or "–"
    lines = [
        f"### {one['policy']}",
        say(
            "cleanup.details",
            language=language,
            cutoff=plan["cutoff"],
            oldest=preview["oldest"] or "–",
            newest=preview["newest"] or "–",
            method=preview["method"],
            related=related,
            held=preview["held_rows"],
            total=preview["total_rows"],
        ),
        say("cleanup.sample", language=language, sample=sample),
        say("cleanup.hashes", language=language, policy=plan["policy_hash"][:16], plan=plan["hash"][:16]),
    ]
    return "\n\n".join(lines)


def waiting_lines(outcomes: Sequence[dict[str, Any]], *, language: Language = "en") -> list[str]:
    """One line for each policy that waits for somebody's word."""
    return [
        say(
            "cleanup.waiting_line",
            language=language,
            policy=one["policy"],
            application=one["application"],
            rows=one["plan"]["preview"]["rows"],
            reasons=" ".join(explain_reasons(one["reasons"], language=language)),
            hash=one["plan"]["hash"][:16],
        )
        for one in outcomes
        if one["course"] == "ask" and one["plan"] and not one["problem"]
    ]


def write_bytes(size: float) -> str:
    """Write a number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} B" if unit == "B" else f"{size:.4g} {unit}"


def _plot(freed: Sequence[tuple[datetime, float]], *, language: Language) -> str:
    """Bytes that became free, summed up over the last runs, as an image in the text; nothing before the second run."""
    if len(freed) < 2:
        return ""
    import numpy as np  # 0.1 s that a run without a plot need not wait for

    from domain.chart import Labels, draw

    points = freed[-_POINTS_MAX:]
    times = np.array([np.datetime64(at.replace(tzinfo=None), "s") for at, _ in points])
    title = say("cleanup.plot", language=language)
    labels = Labels(title, title, "", "", "")
    svg = draw(times, np.cumsum([size for _, size in points]), unit="bytes", labels=labels)
    encoded = base64.b64encode(svg.encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{encoded})"
