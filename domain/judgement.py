"""Judges a release on live traffic: PASS, FAIL or UNCLEAR, as often as anybody looks.

Called each second by the watching task of `cd` with all windows so far; `flows/` decide what follows. FAIL as soon as
the evidence crosses its threshold; PASS only at the end of the whole watch, and only where harm would have shown;
everything else is UNCLEAR at the end. Too little traffic never passes.

Source: docs/explanation/how-releases-are-judged.md (method, what was measured, known holes).
"""

import math
from collections.abc import Mapping, Sequence

from domain import evidence as ev
from domain.application import ObjectivesPart
from domain.counts import Count, count_numbers, newest_end_s, slices, stretch_length_s, total, windows_since
from domain.latency import Latency
from domain.traffic import Window
from domain.triggers import (
    ERROR_TOLERANCE,
    SPARED,
    find_error_rise,
    find_errors,
    find_outage,
    find_slow,
    spared_alone,
    threshold,
)
from domain.verdict import Finding, Judgement, Verdict, explain_judgement, first_failed, read_judgement

ERRORS_SHARE, LEVEL_SHARE, TAIL_SHARE = 0.35, 0.45, 0.2
"""How the chance of a false FAIL is split over the triggers: most to the one that needs the most evidence."""

BAD = 2.0
"""A release that misses its objective by this factor does not pass, even where the live one is as bad."""

__all__ = ["Finding", "Judgement", "Verdict", "explain_judgement", "judge_alone", "judge_canary", "read_judgement"]


def judge_canary(
    canary: Sequence[Window],
    live: Sequence[Window],
    *,
    objectives: ObjectivesPart,
    watch_s: float,
    elapsed_s: float,
    alpha: float = 0.01,
    is_last_step: bool = True,
    latency_noise_sd: float = 0.0,
) -> Judgement:
    """Judge a canary against the live release beside it, looking as often as you like.

    Evidence is gathered over the whole rollout; `objectives.requests_min` counts in the present step.

    Args:
        canary, live: all windows of this rollout so far, oldest first; both arms on one clock.
        watch_s: how long the present step is to be watched.
        elapsed_s: how long the present step was watched so far.
        alpha: highest chance of a false FAIL over the whole rollout and all looks.
        is_last_step: a step before the last may pass (the share may rise) before small latency harm would have shown.
        latency_noise_sd: by how much the log latencies of equal instances are known to differ; widens the tolerance.
    """
    counts = slices(canary, live)
    stretch_s = stretch_length_s(canary)
    latency = Latency.between(canary, live, objectives=objectives, watch_s=watch_s, noise_sd=latency_noise_sd)
    findings = (
        find_outage(counts, stretch_s=stretch_s, spared=SPARED),
        find_errors(counts, objectives=objectives, alpha=ERRORS_SHARE * alpha, stretch_s=stretch_s),
        latency.find_level(alpha=LEVEL_SHARE * alpha),
        latency.find_tail(alpha=TAIL_SHARE * alpha),
    )
    if failed := first_failed(findings):
        return Judgement(Verdict.FAIL, findings, cause=f"judgement.{failed.trigger}", watched_s=elapsed_s)
    if elapsed_s < watch_s:
        return Judgement(None, findings, cause="judgement.watching", watched_s=elapsed_s)
    begun_s = newest_end_s(canary, live) - elapsed_s
    step = slices(windows_since(canary, begun_s), windows_since(live, begun_s))
    cause = _why_unclear(findings, step=step, objectives=objectives, is_last_step=is_last_step, alpha=alpha)
    return _conclude(findings, cause=cause, step=step, watched_s=elapsed_s)


def judge_alone(
    windows: Sequence[Window],
    *,
    objectives: ObjectivesPart,
    watch_s: float,
    elapsed_s: float,
    before: Sequence[Window] = (),
    alpha: float = 0.01,
) -> Judgement:
    """Judge a release that has all the traffic: by its objectives, and by what was before.

    Without a release beside it, what changed for everybody can't be told from what this release did. So only an outage,
    broken objectives and a strong rise of errors fail it, and only where the time before was not as bad.

    Args:
        windows: what it answered since it had all the traffic, oldest first.
        before: what the release before it answered until then; empty for an application's first release.
    """
    counts = slices(windows, ())
    stretch_s, spared = stretch_length_s(windows), spared_alone(watch_s)
    rise = find_error_rise(
        counts, slices(before, ()), objectives=objectives, alpha=alpha / 2, stretch_s=stretch_s, spared=spared
    )
    slow = find_slow(windows, before, objectives=objectives, alpha=alpha / 2, stretch_s=stretch_s, spared=spared)
    findings = (find_outage(counts, stretch_s=stretch_s, spared=spared), rise, slow)
    if failed := first_failed(findings):
        return Judgement(Verdict.FAIL, findings, cause=_alone_cause(failed), watched_s=elapsed_s)
    if elapsed_s < watch_s:
        return Judgement(None, findings, cause="judgement.watching", watched_s=elapsed_s)
    return _conclude(
        findings, cause=_why_unclear_alone(counts, objectives=objectives), step=counts, watched_s=elapsed_s
    )


def _alone_cause(failed: Finding) -> str:
    return f"judgement.{failed.trigger}" if failed.trigger == "unavailability" else f"judgement.{failed.trigger}_alone"


def _conclude(findings: tuple[Finding, ...], *, cause: str, step: Sequence[Count], watched_s: float) -> Judgement:
    """End the watch: PASS where nothing is in the way, else UNCLEAR for `cause`."""
    in_step = Finding(
        "traffic",
        Verdict.UNCLEAR if cause else Verdict.PASS,
        count_numbers(total(step)),
    )
    verdict = Verdict.UNCLEAR if cause else Verdict.PASS
    settled = tuple(Finding(finding.trigger, finding.verdict or Verdict.PASS, finding.figures) for finding in findings)
    return Judgement(verdict, (*settled, in_step), cause=cause or "judgement.passed", watched_s=watched_s)


def _why_unclear(
    findings: Sequence[Finding],
    *,
    step: Sequence[Count],
    objectives: ObjectivesPart,
    is_last_step: bool,
    alpha: float,
) -> str:
    """The key of what keeps an ended watch from passing; empty where nothing does."""
    requests, failures, live_requests, _ = total(step)
    if not requests:
        return "judgement.silent"
    if requests < objectives.requests_min:
        return "judgement.few_requests"
    if not live_requests:
        return "judgement.no_live"
    if failures / requests > BAD * objectives.error_ratio_max:
        return "judgement.both_bad"
    if not _errors_would_show(step, objectives=objectives, alpha=alpha):
        return "judgement.errors_invisible"
    latency = next(finding.figures for finding in findings if finding.trigger == "latency")
    if is_last_step and not _latency_would_show(latency):
        return "judgement.latency_invisible"
    return ""


def _errors_would_show(step: Sequence[Count], *, objectives: ObjectivesPart, alpha: float) -> bool:
    """Whether a release that fails `error_ratio_max` more than the live one would have been found in this step."""
    n1, _, n0, k0 = total(step)
    bad = round(n1 * min(1.0, k0 / n0 + objectives.error_ratio_max))
    return ev.rate_evidence([(n1, bad, n0, k0)], tolerance=ERROR_TOLERANCE) >= threshold(ERRORS_SHARE * alpha)


def _latency_would_show(figures: Mapping[str, float]) -> bool:
    """Whether harm twice as large (as a logarithm) as what is tolerated would have been found."""
    visible = figures.get("visible_ratio", math.inf)
    return visible <= figures.get("tolerance", 1.0) ** 2


def _why_unclear_alone(counts: Sequence[Count], *, objectives: ObjectivesPart) -> str:
    requests, failures, _, _ = total(counts)
    if not requests:
        return "judgement.silent"
    if requests < objectives.requests_min:
        return "judgement.few_requests"
    if failures / requests > BAD * objectives.error_ratio_max:
        return "judgement.objective_missed"
    return ""
