"""A headless Chromium that uses the Prefect UI as a person does."""

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--window-size=1440,1500",
)
WAIT_S = 60


class Browser:
    """One window; `auth` is the password of the Prefect UI."""

    def __init__(self, driver: webdriver.Chrome, *, ui_url: str, auth: str) -> None:
        self.driver = driver
        self._ui_url = ui_url
        self._auth = auth
        self._wait = WebDriverWait(driver, WAIT_S)

    def log_in(self) -> None:
        """Give the password where the UI asks for it."""
        self.driver.get(self._ui_url)
        field = self.find("//input[@type='password']")
        field.send_keys(self._auth)
        field.send_keys(Keys.ENTER)
        self._wait.until(lambda d: not d.find_elements(By.XPATH, "//input[@type='password']"))

    def open_run(self, run: str) -> None:
        self.driver.get(f"{self._ui_url}/v2/runs/flow-run/{run}")

    def fill(self, label: str, text: str) -> None:
        """Type into the field of the open dialog that has this label."""
        field = self._field(label, "textarea | .//input")
        field.clear()
        field.send_keys(text)

    def choose(self, label: str, option: str) -> None:
        """Choose from the select of the open dialog that has this label."""
        select = self._field(label, "button[@role='combobox' or (@aria-haspopup and @aria-haspopup != 'menu')]")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", select)
        select.click()
        self.click(f"//*[@role='option'][normalize-space()='{option}']")

    def _field(self, label: str, kind: str) -> WebElement:
        title = self.find(f"//*[@role='dialog']//label[starts-with(normalize-space(), '{label}')]")
        group = title.find_element(By.XPATH, "./ancestor::div[contains(@class, 'group')][1]")
        return group.find_element(By.XPATH, f".//{kind}")

    def find(self, xpath: str) -> WebElement:
        """Wait for an element that is shown."""
        return self._wait.until(
            lambda d: next((e for e in d.find_elements(By.XPATH, xpath) if e.is_displayed()), None),
            message=f"not shown: {xpath}",
        )

    def click(self, xpath: str) -> None:
        element = self.find(xpath)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))


@contextmanager
def open_browser(*, ui_url: str, auth: str) -> Generator[Browser]:
    """Start a Chromium of its own; skipped, with the reason, where there is none."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("no chromium and chromedriver on this machine: install Debian's chromium-driver")
    profile = tempfile.mkdtemp(prefix="slipway-browser-")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        yield Browser(driver, ui_url=ui_url, auth=auth)
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
