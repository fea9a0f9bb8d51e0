"""Gates: asking a person by suspending the run, until an answer counts or the time is over.

Called in the top-level run only (`cd`, `scale`, `load_policy`): a subflow cannot suspend. The run's process exits while
it waits and starts again from its top afterwards, so everything here is keyed and deterministic. Keys hold the run
count, because a retry from the UI asks anew (PREFECT: a passed gate of the same key would return its old answer).
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from prefect import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field, ValidationError, create_model

from blocks.world import open_world
from domain.approval import Shown, explain_request
from domain.catalogue import Language, say
from domain.revision import release_of
from tasks.approval import expire_gate, open_gate, readable, show_request, weigh_answer
from tasks.question import expire_question, open_question
from tasks.review import read_reviews
from tasks.superseding import read_newer, refuse_superseded

S = TypeVar("S")
ATTEMPTS_MAX = 50


def approval_form(language: Language) -> type[RunInput]:
    """Make the form of an approval. Every field that decides is required and has no default: a resume that bypasses
    validation can't be taken for a yes."""
    return _form("Approval", Literal["approve", "reject"], "decision", language)


def course_form(language: Language) -> type[RunInput]:
    """Make the form that asks what to do with a release that cannot be judged."""
    return _form("Course", Literal["wait", "proceed", "rollback"], "course", language)


def _form(name: str, choices: Any, choices_text: str, language: Language) -> type[RunInput]:
    def explain(field: str) -> str:
        return say(f"approval.field_{field}", language=language)

    return create_model(
        name,
        __base__=RunInput,
        decision=(choices, Field(description=explain(choices_text))),
        approver=(
            str,
            Field(min_length=1, max_length=80, description=say("approval.field_approver", language=language)),
        ),
        code=(str, Field(pattern=r"^\d{6}$", description=say("approval.field_code", language=language))),
        comment=(str, Field(default="", max_length=500, description=say("approval.field_comment", language=language))),
    )


def ask(
    *,
    run: str,
    application: str,
    environment: str,
    release: str,
    gate: str,
    limit_s: int,
    form: type[RunInput],
    render: Any = explain_request,
) -> dict[str, str]:
    """Suspend until an answer counts, or the deadline has passed.

    Every answer that does not count is recorded with its reason, and the question is asked again with that reason on
    the form, until the original deadline.

    Args:
        gate: the gate's name, unique in the run.
        render: makes the form's description, like `explain_request`.

    Returns: `outcome` (the decision, `expired` or `superseded`), `approver`, `reason`.
    """
    language = open_world().language
    gate = f"{gate}-{flow_run.run_count}"
    deadline = open_gate(run, application, environment, release, gate, limit_s, open_world().run_records.url(run))
    review = read_reviews(run, application, environment, release, gate) if render is explain_request else ""

    def show(attempt: int, refusal: str) -> tuple[Shown, str]:
        shown = show_request(run, application, environment, release, gate, attempt)
        until = readable(deadline)
        return shown, render(shown, deadline=until, refusal=refusal, language=language, review=review)

    def weigh(shown: Shown, attempt: int, answer: dict[str, str]) -> dict[str, str]:
        if newer := read_newer(run, application, shown.commit, release_of(release)):
            refuse_superseded(run, application, environment, release, gate, attempt, answer.get("approver", ""), newer)
            return {"outcome": "superseded", "approver": "", "reason": newer}
        return weigh_answer(run, application, environment, release, gate, attempt, shown.hash, answer)

    verdict = ask_until_it_counts(gate=gate, deadline=deadline, form=form, show=show, weigh=weigh)
    if verdict["outcome"] == "expired":
        expire_gate(run, application, environment, release, gate, deadline, verdict["reason"])
    return verdict


def ask_until_it_counts(
    *,
    gate: str,
    deadline: str,
    form: type[RunInput],
    show: Callable[[int, str], tuple[S, str]],
    weigh: Callable[[S, int, dict[str, str]], dict[str, str]],
) -> dict[str, str]:
    """Suspend, weigh the answer, and ask again with the reason where it does not count.

    Args:
        show: what is shown at an attempt, after which refusal: the fact that an answer is bound to, and its text.
        weigh: says what an answer to that fact comes to; `outcome` is `refused` where it does not count.

    Returns: as `ask`.
    """
    refusal = ""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        shown, description = show(attempt, refusal)
        left_s = (datetime.fromisoformat(deadline) - datetime.now(UTC)).total_seconds()
        answer = _suspend(form, description=description, timeout_s=max(1, int(left_s)), key=f"{gate}-{attempt}")
        verdict = weigh(shown, attempt, answer)
        if verdict["outcome"] != "refused":
            return verdict
        refusal = verdict["reason"]
    return {"outcome": "expired", "approver": "", "reason": "nobody gave an answer that counts"}


def ask_about(
    *,
    run: str,
    application: str,
    environment: str,
    noun: str,
    gate: str,
    limit_s: int,
    show: Callable[[str, int], S],
    render: Callable[..., str],
    weigh: Callable[[S, str, int, dict[str, str]], dict[str, str]],
) -> dict[str, str]:
    """Ask about a size or a policy, as `ask` does about a release; `noun` names the entries (`tasks/question.py`)."""
    language = open_world().language
    gate = f"{gate}-{flow_run.run_count}"
    url = open_world().run_records.url(run)
    deadline = open_question(run, application, environment, noun, gate, limit_s, url)

    def shown_at(attempt: int, refusal: str) -> tuple[S, str]:
        shown = show(gate, attempt)
        return shown, render(shown, deadline=readable(deadline), refusal=refusal, language=language)

    verdict = ask_until_it_counts(
        gate=gate,
        deadline=deadline,
        form=approval_form(language),
        show=shown_at,
        weigh=lambda shown, attempt, answer: weigh(shown, gate, attempt, answer),
    )
    if verdict["outcome"] == "expired":
        expire_question(run, application, environment, noun, gate, verdict["reason"])
    return verdict


def _suspend(form: type[RunInput], *, description: str, timeout_s: int, key: str) -> dict[str, str]:
    """Suspend under a key, or return what was answered under it. What is no answer says so instead of raising."""
    try:
        given = suspend_flow_run(
            wait_for_input=form.with_initial_data(description=description), timeout=timeout_s, key=key
        )
    except ValidationError as exc:
        # resumed by a changed state instead of by an answer, or with an answer that the server did not check
        missing = [str(error["loc"][0]) for error in exc.errors() if error["type"] == "missing" and error["loc"]]
        if len(missing) >= 3:
            return {"bypassed": "the run was resumed without an answer"}
        return {"malformed": ", ".join(str(error["loc"]) for error in exc.errors())[:200]}
    return {name: str(value) for name, value in given.model_dump().items()}


def explain_course(
    shown: Shown, *, deadline: str, refusal: str = "", language: Language = "en", report: str = "", review: str = ""
) -> str:
    """Render the question what to do with a release that cannot be judged: the verdict first, then the choices.

    How it was reviewed (`review`) was a question of the gate before.
    """
    values = {"application": shown.application, "environment": shown.environment, "deadline": deadline}
    parts = [f"## {say('approval.unclear_heading', language=language, **values)}"]
    if refusal:
        parts.append(f"> **{say('approval.asked_again', language=language)}** {refusal}")
    parts.append(report)
    parts.append(say("approval.unclear_consequences", language=language, **values))
    return "\n\n".join(part for part in parts if part)
