"""A page of LlamaBoard in headless Chromium, driven by what a person sees: labels, menu entries, button texts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (_CHROMIUM and _DRIVER), reason="needs a browser: apt-get install chromium chromium-driver"
)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1900",
)


def _path(label: str) -> str:
    inside = f"//label[.//span[normalize-space()='{label}']]//*[self::input or self::textarea]"
    return f"//*[@aria-label='{label}'] | {inside}"


class Page:
    """What the test does with a page; every wait is bounded."""

    def __init__(self, driver: webdriver.Chrome, timeout: float) -> None:
        self.driver, self._timeout = driver, timeout

    def wait(self, condition: object, message: str, timeout: float | None = None) -> object:
        ignored = (StaleElementReferenceException,)
        waiting = WebDriverWait(self.driver, timeout or self._timeout, poll_frequency=0.3, ignored_exceptions=ignored)
        return waiting.until(condition, message)  # type: ignore[arg-type]

    def field(self, label: str) -> WebElement:
        """The visible input under ``label``."""

        def visible(driver: webdriver.Chrome) -> WebElement | None:
            found = [element for element in driver.find_elements(By.XPATH, _path(label)) if element.is_displayed()]
            return found[0] if found else None

        return self.wait(visible, f"no field '{label}'")  # type: ignore[return-value]

    def shows(self, label: str) -> bool:
        """Whether a visible field has this label."""
        return any(element.is_displayed() for element in self.driver.find_elements(By.XPATH, _path(label)))

    def fill(self, label: str, text: str) -> None:
        field = self.field(label)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(Keys.DELETE)
        field.send_keys(text)
        field.send_keys(Keys.TAB)
        time.sleep(0.5)

    def menu(self, label: str) -> list[str]:
        """Open the menu under ``label`` and read it."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.field(label))
        self.field(label).click()
        path = "//ul[@role='listbox']/li"
        self.wait(lambda driver: driver.find_elements(By.XPATH, path), f"the menu '{label}' stays closed")
        return [entry.get_attribute("aria-label") or entry.text for entry in self.driver.find_elements(By.XPATH, path)]

    def choose(self, label: str, entry: str) -> None:
        """Type ``entry`` into the menu's own search and take it."""
        field = self.field(label)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(entry)
        path = f"//ul[@role='listbox']/li[@aria-label='{entry}']"
        self.wait(lambda driver: driver.find_elements(By.XPATH, path), f"no entry '{entry}' in the menu '{label}'")
        self.driver.find_element(By.XPATH, path).click()
        time.sleep(0.5)

    def press(self, text: str) -> None:
        path = f"//button[normalize-space()='{text}' or .//span[normalize-space()='{text}']]"

        def visible(driver: webdriver.Chrome) -> WebElement | None:
            return next((found for found in driver.find_elements(By.XPATH, path) if found.is_displayed()), None)

        button: WebElement = self.wait(visible, f"no button '{text}'")  # type: ignore[assignment]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def screenshot(self, path: Path, *, around: str) -> None:
        """Save a picture of the page, scrolled to the field ``around``."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.field(around))
        time.sleep(0.5)
        assert self.driver.save_screenshot(str(path))


@contextmanager
def opened(address: str, profile: Path, *, timeout: float = 60) -> Iterator[Page]:
    """The page at ``address``."""
    options = Options()
    options.binary_location = str(_CHROMIUM)
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(str(_DRIVER)))
    try:
        driver.get(address)
        yield Page(driver, timeout)
    finally:
        driver.quit()
