"""`slipway demo`: the whole journey for real, unattended; `slipway demo code` plays the authenticator."""

import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blocks.installation import read_installation, state_folder
from domain.errors import ConfigError, SlipwayError

if TYPE_CHECKING:
    from deployments.demo.summary import Summary
    from deployments.demo.timeline import Timeline

app = typer.Typer(help="See the whole journey for real: push, release, approval, canary, rollback, under traffic.")

RATE = 60.0


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    approve: Annotated[
        Literal["api", "ui"], typer.Option(help="Who answers: the demo, through Prefect's API, or you, in the UI.")
    ] = "api",
    rate: Annotated[float, typer.Option(help="Visitors' requests a second.", min=20, max=300)] = RATE,
) -> None:
    """Bring the stack up and deliver the helpdesk: a good commit goes live, a bad one comes back by itself.

    Takes under ten minutes on two cores and may be run again, also after an interruption. Ends with 0 when every claim
    held; the figures are in demo/summary.json of the state folder. The stack stays up.
    """
    if context.invoked_subcommand is not None:
        return
    if not (Path(__file__).resolve().parents[2] / "examples" / "helpdesk").is_dir():
        raise ConfigError("The demo needs the examples of the source tree. Run it from a checkout: make demo.")
    raise typer.Exit(play(by_hand=approve == "ui", rate=rate))


@app.command("code")
def show_code(
    name: Annotated[str, typer.Argument(help="One of the demo's people; leave out for all.")] = "",
) -> None:
    """Show the current one-time code of the demo's people, as their phones would."""
    from deployments.demo.people import People

    people = People(read_installation().state / "demo" / "people.json")
    for person in [name] if name else people.names():
        code = people.shown_code(person)
        print(f"{person:<12} {code.digits}   ({max(0, int(code.until - time.time()))} s left)")


def play(*, by_hand: bool, rate: float) -> int:
    """Run the demo to its end and write the summary, whatever happens; returns the exit code."""
    from deployments.demo.summary import Summary
    from deployments.demo.timeline import Timeline

    folder = state_folder().resolve() / "demo"
    summary = Summary(started_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    timeline = Timeline()
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by a program, too, it keeps what it found so far
    try:
        _bring_up_and_play(timeline, summary, folder, by_hand=by_hand, rate=rate)
        summary.passed = bool(summary.claims) and all(summary.claims.values())
    except SlipwayError as exc:
        summary.problem = str(exc)
        timeline.tell("failed", mark="bad", problem=summary.problem)
    except KeyboardInterrupt:
        summary.problem = "interrupted"
        timeline.tell("interrupted", mark="bad")
    finally:
        summary.seconds = time.monotonic() - begun
        summary.finished_at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        summary.write(folder / "summary.json")
    if summary.problem != "interrupted" and summary.ui:
        _close(timeline, summary, folder)
    return 0 if summary.passed else 1


def _bring_up_and_play(timeline: "Timeline", summary: "Summary", folder: Path, *, by_hand: bool, rate: float) -> None:
    from deployments.stack.progress import Progress
    from deployments.stack.settings import read_settings
    from deployments.stack.up import bring_up

    installation = bring_up(read_settings(), Progress())
    read_installation.cache_clear()
    summary.up_s, summary.ui = timeline.seconds, installation.prefect_ui_url
    timeline.speak(installation.language)
    timeline.tell("up", mark="ok", seconds=f"{timeline.seconds:.0f}", url=installation.prefect_ui_url)

    from blocks.world import open_world
    from deployments.demo.story import Options, run_demo

    with timeline:
        run_demo(open_world(), timeline, Options(by_hand=by_hand, rate=rate, folder=folder), summary)


def _close(timeline: "Timeline", summary: "Summary", folder: Path) -> None:
    from deployments.demo.closing import close_demo

    port = read_installation().ports["entry-production-alpha"]
    close_demo(timeline, summary, file=folder / "summary.json", desk=f"http://helpdesk.localhost:{port}/")
    sys.stdout.flush()
