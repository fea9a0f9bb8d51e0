"""The page "what runs out first": a summary, a table, the plots of the nearest; as markdown and as one HTML file.

Rendered from records by the tasks of `capacity`. Plots go into the markdown as images of their own colours; what would
make an artifact too large goes into further ones.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any

import numpy as np

from domain.advice import Advice, Move
from domain.amounts import write_value
from domain.capacity import CapacityPlan
from domain.catalogue import Language, say
from domain.crossing import SEARCH_DAYS
from domain.forecast import BackTest
from domain.outlook import Outlook
from domain.ports_capacity import HeavyQuery
from domain.series import day_of

PLOTS_MAX = 20
ROWS_MAX = 30
NAMES_MAX = 12
ARTIFACT_BYTES_MAX = 180_000
RELATIVE_GOOD, RELATIVE_FAIR = 0.7, 1.05
_SHORT_UNITS = ("bytes", "ratio", "cores")
COLUMNS = ("resource", "used", "limit", "when", "interval", "confidence", "advice")


@dataclass(frozen=True, slots=True)
class Page:
    """What goes onto the page.

    Args:
        outlooks: the most urgent first.
        plots: SVG by a resource's key, in the order in which they are shown.
        gaps: sources that gave nothing for a time lately.
    """

    at: datetime
    outlooks: Sequence[Outlook]
    plots: Mapping[str, str] = field(default_factory=dict[str, str])
    queries: Sequence[HeavyQuery] = ()
    gaps: Sequence[str] = ()
    plan: CapacityPlan = field(default_factory=CapacityPlan)
    gpus: int | None = None
    language: Language = "en"

    def say(self, key: str, **values: Any) -> str:
        """Say one text of the page."""
        return say(f"capacity.{key}", language=self.language, **values)


def has_crossing(outlook: Outlook) -> bool:
    """Whether a threshold is, or probably will be, reached within the days searched."""
    return outlook.median is not None or (outlook.probability or 0.0) >= 0.5 or _is_over(outlook)


def _is_over(outlook: Outlook) -> bool:
    return outlook.limit is not None and outlook.used > outlook.limit.value


def choose_plots(outlooks: Sequence[Outlook]) -> list[Outlook]:
    """The nearest that have a limit and a forecast."""
    return [one for one in outlooks if one.limit is not None and one.band is not None][:PLOTS_MAX]


def choose_rows(outlooks: Sequence[Outlook]) -> list[Outlook]:
    """What stands in the table: what has a limit, or an advice that asks for something."""
    return [one for one in outlooks if one.limit is not None or (one.advice and is_change(one.advice))][:ROWS_MAX]


def summarise(page: Page) -> str:
    """Say the whole page in one paragraph."""
    if not page.outlooks:
        return page.say("empty")
    first = page.outlooks[0]
    if has_crossing(first):
        head = page.say("first", resource=first.resource.key, answer=first.answer.text(page.language))
    else:
        head = page.say("nothing", days=SEARCH_DAYS)
    counts = page.say(
        "counts",
        total=len(page.outlooks),
        near=sum(has_crossing(one) for one in page.outlooks),
        days=SEARCH_DAYS,
        unlimited=sum(one.limit is None for one in page.outlooks),
        refused=sum(one.band is None for one in page.outlooks),
    )
    settled = sum(one.is_settled for one in page.outlooks)
    return " ".join([head, counts, *([page.say("advised", count=settled)] if settled else [])])


def row_of(outlook: Outlook, page: Page) -> tuple[str, ...]:
    """One line of the table, as plain text, in the order of `COLUMNS`."""
    limit, unit = outlook.limit, _short_unit(outlook)
    used = _tied(write_value(outlook.used, unit)) if np.isfinite(outlook.used) else "–"
    told = page.say("unlimited")
    if limit is not None:
        told = f"{_tied(write_value(limit.value, unit))} ({round(100 * limit.threshold_ratio)}\u00a0%)"
        used += f" ({round(100 * (outlook.used_ratio or 0.0))}\u00a0%)"
    is_now = outlook.days_left is not None and outlook.days_left <= 0
    interval = "–"
    if outlook.lo80 is not None and not is_now:
        interval = f"{_day(outlook.lo80)} – {_day_or(outlook.hi80, page, outlook)}"
    return (
        outlook.resource.key.replace(":", ": ").strip(": "),  # so that a narrow page can break it
        used,
        told,
        when_of(outlook, page),
        interval,
        confidence_of(outlook.back_test, unit, page),
        move_of(outlook, page),
    )


def _day_or(day: np.datetime64 | None, page: Page, outlook: Outlook) -> str:
    return page.say("beyond", days=outlook.days) if day is None else _day(day)


def _day(day: np.datetime64) -> str:
    """A day that stays on one line."""
    return day_of(day).replace("-", "\u2011")


def when_of(outlook: Outlook, page: Page) -> str:
    """The date, the probability, or why there is neither."""
    if outlook.median is not None:
        return page.say("now") if (outlook.days_left or 0) <= 0 else _day(outlook.median)
    if outlook.probability is not None:
        percent = round(100 * outlook.probability)
        key = "hardly" if percent < 1 else "surely" if percent > 99 else "chance"
        return page.say(key, percent=percent, days=outlook.days)
    if outlook.band is None:
        return page.say("no_forecast")
    return "–" if outlook.limit is None else page.say("no_date")


def confidence_of(test: BackTest | None, unit: str, page: Page) -> str:
    """How far the same forecast was off before, and a word for it."""
    if test is None or not np.isfinite(test.mae) or not np.isfinite(test.relative):
        return "–" if test is None else page.say("confidence_none")
    word = "good" if test.relative <= RELATIVE_GOOD else "fair" if test.relative <= RELATIVE_FAIR else "poor"
    return page.say(f"confidence_{word}", error=_tied(f"± {write_value(test.mae, unit)}"))


def move_of(outlook: Outlook, page: Page) -> str:
    """The advice in two or three words, for the table."""
    advice = outlook.advice
    if advice is None or not is_change(advice):
        return "–"
    if advice.move is Move.CLEAN_UP:
        return page.say("move_clean_up", policy=advice.parameters.get("policy", ""))
    unit = "" if advice.what in ("instances", "gpus") else _short_unit(outlook)
    what = page.say(f"what_{advice.what}")
    return page.say(f"move_{advice.move}", what=what, wanted=_tied(write_value(advice.wanted, unit)))


def _short_unit(outlook: Outlook) -> str:
    """The unit where a narrow cell has room for it; of others the metric's name tells."""
    return outlook.resource.unit if outlook.resource.unit in _SHORT_UNITS else ""


def _tied(words: str) -> str:
    """Words that stay on one line."""
    return words.replace(" ", "\u00a0")


def advice_of(outlook: Outlook, page: Page) -> str:
    """The advice in a sentence, with what it costs and what `scale` takes."""
    advice = outlook.advice
    if advice is None or (advice.move is Move.KEEP and not has_crossing(outlook)):
        return "–"
    words = [advice.reason.text(page.language)]
    if advice.resource not in words[0]:
        words.insert(0, f"{advice.resource.rstrip(':')}:")
    if advice.cost_per_month:
        key = "cost" if advice.cost_per_month > 0 else "saves"
        words.append(f"({page.say(key, amount=f'{abs(advice.cost_per_month):,.2f}')})")
    if advice.parameters and advice.move is not Move.CLEAN_UP:
        shown = {name: value for name, value in advice.parameters.items() if name != "reason"}
        words.append(page.say("parameters", parameters=json.dumps(shown)))
        if policy := policy_of(advice):
            words.append(page.say("policy", parameters=json.dumps(policy)))
    if not outlook.is_settled and is_change(advice):
        words.append(page.say("waiting"))
    return " ".join(words)


def policy_of(advice: Advice) -> dict[str, Any]:
    """What `load_policy` takes to follow the load within an advice's bounds; empty for advice on another thing."""
    if advice.what != "instances" or not advice.parameters:
        return {}
    place = {name: advice.parameters[name] for name in ("application", "environment")}
    values = advice.reason.values
    bounds = {"least": values["least"], "most": values["most"]}
    return {**place, **bounds, "capacity": values["each"], "target_ratio": values["target"] / 100}


def is_change(advice: Advice) -> bool:
    """Whether an advice asks for anything."""
    return advice.move is not Move.KEEP


def render_markdown(page: Page) -> list[str]:
    """Render the page as artifacts: the first has summary, table and as many plots as fit, others the rest."""
    images = [f"![{key}]({as_data_url(svg)})\n" for key, svg in page.plots.items()]
    head = "\n".join(_head(page))
    tail = "\n".join(_tail(page))
    parts: list[list[str]] = [[]]
    room = ARTIFACT_BYTES_MAX - len((head + tail).encode())
    for image in images:
        if len(image) > room:
            parts.append([])
            room = ARTIFACT_BYTES_MAX
        parts[-1].append(image)
        room -= len(image)
    further = [f"`capacity-plots-{number}`" for number in range(2, len(parts) + 1)]
    more = f"\n{page.say('plots_more', keys=', '.join(further))}\n" if further else ""
    first = f"{head}\n{''.join(parts[0])}{more}\n{tail}"
    return [first, *("".join(part) for part in parts[1:])]


def _head(page: Page) -> Iterator[str]:
    yield f"# {page.say('title')}\n\n{summarise(page)}\n"
    shown = choose_rows(page.outlooks)
    if shown:
        yield _markdown_row([page.say(f"column_{name}") for name in COLUMNS])
        yield "|" + " --- |" * len(COLUMNS)
        yield from (_markdown_row(row_of(one, page)) for one in shown)
    if rest := len(page.outlooks) - len(shown):
        yield f"\n{page.say('more', count=rest)}"
    if advised := _advised(page):
        yield f"\n## {page.say('advised_title')}\n"
        yield from (f"- {line}" for line in advised)
    if page.plots:
        yield f"\n## {page.say('plots')}\n"


def _advised(page: Page) -> list[str]:
    """Every advice that asks for something, in a sentence."""
    return [advice_of(one, page) for one in page.outlooks if one.advice and is_change(one.advice)][:ROWS_MAX]


def _tail(page: Page) -> Iterator[str]:
    for title, lines in _sections(page):
        yield f"\n## {title}\n"
        yield from (f"- {line}" for line in lines)
    yield f"\n{page.say('made', at=f'{page.at:%Y-%m-%d %H:%M}')}"


def _sections(page: Page) -> Iterator[tuple[str, list[str]]]:
    """What stands under the plots: models, queries, remarks, what has no date; each with its lines."""
    if page.plan.models:
        yield page.say("models"), list(_models(page))
    if page.queries:
        yield page.say("queries"), [_query(one, page) for one in page.queries]
    remarks = [
        f"**{one.resource.key}**: {' '.join(remark.text(page.language) for remark in one.remarks)}"
        for one in page.outlooks[:PLOTS_MAX]
        if one.remarks
    ]
    if remarks:
        yield page.say("remarks"), remarks
    if without := list(_without(page)):
        yield page.say("without"), without
    if limits := list(_limits(page)):
        yield page.say("limits"), limits
    if page.gaps:
        yield page.say("gaps"), list(page.gaps)


def _without(page: Page) -> Iterator[str]:
    """Why there is neither date nor probability, each reason once."""
    reasons: dict[str, list[str]] = {}
    for one in page.outlooks:
        if one.probability is None and one.answer.key != "usage.no_limit":
            reasons.setdefault(one.answer.text(page.language), []).append(one.resource.key)
    for reason, keys in list(reasons.items())[:PLOTS_MAX]:
        yield f"**{_names(keys, page)}**: {reason}"


def _limits(page: Page) -> Iterator[str]:
    """Each limit with where it was read, from when it matters, and the lead time; then what has none."""
    for one in choose_rows(page.outlooks):
        if (limit := one.limit) is not None:
            unit = one.resource.unit
            told = {"limit": write_value(limit.value, unit), "threshold": write_value(limit.threshold, unit)}
            yield page.say(
                "limit_row", resource=one.resource.key.rstrip(":"), source=limit.source, lead=limit.lead_days, **told
            )
    if unlimited := [one.resource.key for one in page.outlooks if one.limit is None]:
        yield page.say("unlimited_row", count=len(unlimited), keys=_names(unlimited, page))


def _names(keys: Sequence[str], page: Page) -> str:
    shown = ", ".join(key.rstrip(":") for key in keys[:NAMES_MAX])
    return page.say("and_more", keys=shown, count=len(keys) - NAMES_MAX) if len(keys) > NAMES_MAX else shown


def _models(page: Page) -> Iterator[str]:
    wanted = 0
    for model in (one.on_gpu() for one in page.plan.models):
        wanted += model.gpus
        percent = round(100 * model.utilisation_ratio)
        yield page.say("model_row", name=model.name, replicas=model.replicas, gpus=model.gpus, percent=percent)
    if page.gpus is None:
        yield page.say("models_unknown", wanted=wanted)
    elif wanted > page.gpus:
        yield page.say("models_short", wanted=wanted, there=page.gpus, missing=wanted - page.gpus)
    else:
        yield page.say("models_fit", wanted=wanted, there=page.gpus)


def _query(query: HeavyQuery, page: Page) -> str:
    told = {"share": round(100 * query.share_ratio), "calls": query.calls, "database": query.database}
    return page.say("query_row", **told, text=query.text.replace("`", "'"))


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def as_data_url(svg: str) -> str:
    """An SVG as an address that an image takes."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;"
    "background:#fff;color:#1f2933}table{border-collapse:collapse;width:100%;font-size:13px}"
    "th,td{border:1px solid #cbd2d9;padding:.4rem .6rem;text-align:left;vertical-align:top}th{background:#f0f2f5}"
    "svg{width:100%;max-width:900px;height:auto;margin:.8rem 0;display:block}.muted{color:#616e7c}"
)


def render_html(page: Page) -> str:
    """Render the whole page as one file that needs nothing else: no script, no address, its own colours."""
    limited = choose_rows(page.outlooks)
    heads = "".join(f"<th>{escape(page.say(f'column_{name}'))}</th>" for name in COLUMNS)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row_of(one, page)) for one in limited)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    sections = "".join(
        f"<h2>{escape(title)}</h2><ul>{''.join(f'<li>{_plain(line)}</li>' for line in lines)}</ul>"
        for title, lines in _sections(page)
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>" if limited else ""
    if advised := _advised(page):
        lines = "".join(f"<li>{_plain(line)}</li>" for line in advised)
        table += f"<h2>{escape(page.say('advised_title'))}</h2><ul>{lines}</ul>"
    plots = f"<h2>{escape(page.say('plots'))}</h2>{''.join(page.plots.values())}" if page.plots else ""
    made = escape(page.say("made", at=f"{page.at:%Y-%m-%d %H:%M}"))
    return (
        f'<!doctype html><html lang="{page.language}"><head><meta charset="utf-8">'
        f"<title>{escape(page.say('title'))}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(page.say('title'))}</h1><p>{_plain(summarise(page))}</p>{table}{plots}{sections}"
        f'<p class="muted">{made}</p></body></html>\n'
    )


def _plain(markdown: str) -> str:
    """Our own lines without their marks."""
    return escape(markdown.replace("**", "").replace("`", ""))
