"""What would be if: events that nobody has planned yet, and how they move dates and probabilities.

Called by `what_if`. Before and after are the same forecast of the same samples; only the events differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.amounts import write_value
from domain.capacity import CapacityPlan, GpuModel, PlannedEvent, VectorPlan
from domain.catalogue import Language, say
from domain.errors import ConfigError
from domain.outlook import Outlook
from domain.plans import ModelOnGpu, Planned
from domain.series import day_of
from domain.usage import Resource

EXAMPLES_MAX = 5
ROWS_MAX = 60


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    events: tuple[PlannedEvent, ...]
    models: tuple[GpuModel, ...]
    vectors: tuple[VectorPlan, ...]

    def planned(self) -> list[Planned]:
        """The events as forecasts take them. Raises: ConfigError for one that can't be."""
        return [*(one.planned() for one in self.events), *(one.planned() for one in self.vectors)]

    def concerned(self, resources: Sequence[Resource], *, language: Language) -> list[Resource]:
        """The resources that an event is about.

        Raises: ConfigError where nothing is asked, or where events concern nothing that was collected.
        """
        planned = self.planned()
        for model in self.models:
            model.on_gpu()
        if not planned and not self.models:
            raise ConfigError("Nothing is asked. Give an event, a model or vectors.")
        found = [one for one in resources if any(event.concerns(one.key) for event in planned)]
        if planned and not found:
            patterns = ", ".join(dict.fromkeys(one.resources for one in planned))
            examples = ", ".join(one.key for one in resources[:EXAMPLES_MAX]) or "–"
            raise ConfigError(say("capacity.what_if_none", language=language, patterns=patterns, examples=examples))
        return found


@dataclass(frozen=True, slots=True)
class Moved:
    """One resource before and after."""

    resource: Resource
    before: str
    after: str
    told: str
    is_moved: bool


def compare(before: Sequence[Outlook], after: Sequence[Outlook], *, language: Language) -> list[Moved]:
    """Compare outlooks of the same resources, in the order of urgency afterwards."""
    known = {one.resource: one for one in before}
    return [_compare_one(known[one.resource], one, language) for one in after if one.resource in known]


def _compare_one(before: Outlook, after: Outlook, language: Language) -> Moved:
    told, is_moved = _tell_move(before, after, language)
    return Moved(after.resource, _when(before, language), _when(after, language), told, is_moved)


def _when(outlook: Outlook, language: Language) -> str:
    if outlook.median is not None:
        return day_of(outlook.median)
    if outlook.probability is None and outlook.advice is not None:  # a service: it has no limit, but instances
        told = {"what": outlook.advice.what, "wanted": f"{outlook.advice.wanted:g}"}
        return say("capacity.what_if_advised", language=language, **told)
    if outlook.probability is None:
        return outlook.answer.text(language)
    percent = round(100 * outlook.probability)
    return say("capacity.chance", language=language, percent=percent, days=outlook.days)


def _tell_move(before: Outlook, after: Outlook, language: Language) -> tuple[str, bool]:
    """Say how far the date moves, and whether it does."""

    def tell(key: str, **values: float) -> tuple[str, bool]:
        return say(f"capacity.what_if_{key}", language=language, **values), key != "same"

    if before.days_left is not None and after.days_left is not None:
        days = round(after.days_left - before.days_left)
        return tell("later", days=days) if days > 0 else tell("earlier", days=-days) if days < 0 else tell("same")
    if after.days_left is not None:
        return tell("appears")
    if before.days_left is not None:
        return tell("gone")
    if before.advice is not None and after.advice is not None and after.probability is None:
        change = after.advice.wanted - before.advice.wanted
        return tell("advice", change=change) if change else tell("same")
    points = round(100 * ((after.probability or 0.0) - (before.probability or 0.0)))
    return tell("chance", points=points) if points else tell("same")


def render_comparison(
    question: Question, moves: Sequence[Moved], plan: CapacityPlan, gpus: int | None, *, language: Language
) -> str:
    """Render the events, then what they do, as one artifact."""
    return "\n".join(_lines(question, moves, plan, gpus, language))


def _lines(
    question: Question, moves: Sequence[Moved], plan: CapacityPlan, gpus: int | None, language: Language
) -> Iterator[str]:
    def words(key: str, **values: object) -> str:
        return say(f"capacity.{key}", language=language, **values)

    yield f"# {words('what_if_title')}\n\n## {words('what_if_events')}\n"
    yield from (f"- {_event(one)}" for one in question.planned())
    if moves:
        heads = ("column_resource", "what_if_before", "what_if_after", "what_if_moves")
        yield f"\n| {' | '.join(words(head) for head in heads)} |\n| --- | --- | --- | --- |"
        for one in moves[:ROWS_MAX]:
            yield f"| {one.resource.key} | {one.before} | {one.after} | {one.told} |"
    if question.models:
        yield f"\n## {words('models')}\n"
        yield f"| | {words('what_if_before')} | {words('what_if_after')} |\n| --- | --- | --- |"
        yield from _model_rows(question, plan, gpus)


def _model_rows(question: Question, plan: CapacityPlan, gpus: int | None) -> Iterator[str]:
    """Each model's replicas and GPUs, before and after; a model of a name that is set already replaces it."""
    before = {one.name: one.on_gpu() for one in plan.models}
    after = before | {one.name: one.on_gpu() for one in question.models}
    for name, model in after.items():
        earlier = before.get(name)
        told = _model(earlier) if earlier else "–"
        yield f"| {name} | {told} | {_model(model)} |"
    wanted = [sum(one.gpus for one in models.values()) for models in (before, after)]
    there = f" / {gpus}" if gpus is not None else ""
    yield f"| **Σ GPU** | {wanted[0]}{there} | {wanted[1]}{there} |"


def _model(model: ModelOnGpu) -> str:
    return f"{model.replicas} × {model.name}: {model.gpus} GPU"


def _event(planned: Planned) -> str:
    resources = planned.resources.replace("*", "\\*")
    changes: list[str] = []
    if planned.load_factor != 1:
        changes.append(f"{100 * (planned.load_factor - 1):+.0f} %")
    if planned.amount:
        unit = "bytes" if ":" in resources and Resource.parse(_concrete(planned.resources)).unit == "bytes" else ""
        changes.append(f"{'+' if planned.amount > 0 else '−'}{write_value(abs(planned.amount), unit)}")
    return f"{planned.begin}: {', '.join(changes) or '±0'}, {resources} ({planned.reason})"


def _concrete(pattern: str) -> str:
    """A key that a pattern could mean, to know its unit."""
    metric, _, rest = pattern.partition(":")
    owner, _, name = rest.partition(":")
    return f"{metric}:{owner or '*'}:{name}"
