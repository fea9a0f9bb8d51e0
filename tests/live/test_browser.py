"""The approval form, filled in and sent in a real browser in the real Prefect UI."""

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from browser import Browser, open_browser
from journey import Journey, Visitors
from running_stack import RunningStack

from domain.release import short

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.timeout(600)]
MENU = "//button[@aria-haspopup='menu'][@aria-label='Open menu' or .//*[text()='Open menu']]"


@pytest.fixture
def journey(stack: RunningStack) -> Generator[Journey]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-browser-journey-"))
    journey = Journey(stack, folder)
    yield journey
    journey.world.close()
    shutil.rmtree(folder)


@pytest.fixture
def browser(stack: RunningStack) -> Generator[Browser]:
    with open_browser(ui_url=stack.installation.prefect_ui_url, auth=stack.auth) as browser:
        yield browser


def test_a_person_reads_the_form_fills_it_in_and_the_release_goes_live(
    journey: Journey, browser: Browser, tmp_path: Path
) -> None:
    release = journey.deliver("seen in a browser")
    run, _ = journey.wait_gate(release)
    browser.log_in()
    browser.open_run(run)
    browser.click(MENU)
    browser.click("//*[@role='menuitem'][contains(., 'Resume')]")
    dialog = browser.find("//*[@role='dialog'][contains(., 'Silence')]")  # the form comes after the frame
    for needed in (short(release), "What differs", "What was proven", "Silence"):
        assert needed in dialog.text, dialog.text
    browser.screenshot(tmp_path / "form.png")
    (tmp_path / "form.html").write_text(dialog.get_attribute("innerHTML") or "")
    browser.choose("Decision", "approve")
    browser.fill("Approver", "ann")
    browser.fill("Comment", "looked at it in the browser")
    browser.fill("Code", journey.code("ann"))
    browser.screenshot(tmp_path / "filled.png")
    browser.click("//*[@role='dialog']//button[normalize-space()='Resume']")
    granted = journey.wait("approval.granted", release=release, limit_s=60)
    assert (granted.event.actor, granted.data["comment"]) == ("ann", "looked at it in the browser")
    with Visitors(journey.stack.installation.ports["entry-production-alpha"]).visiting():
        assert journey.wait_end(run)["type"] == "COMPLETED"
    assert journey.is_wholly_on(release)
