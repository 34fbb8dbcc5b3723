"""Pages in a real Chromium, without a network.

Needs `selenium`, and Chromium with its driver: Debian's packages `chromium` and `chromium-driver`, or CHROMIUM and
CHROMEDRIVER as their paths. Without them the tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")


def skip_without_browser() -> None:
    """Skips a module if there is no browser."""
    pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (CHROMIUM and DRIVER):
        pytest.skip("there is no Chromium with its driver here", allow_module_level=True)


@contextmanager
def chromium() -> Iterator[Any]:
    """Runs a browser without a window."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def opened(driver: Any, address: str) -> Iterator[Any]:
    """Opens a page on a desktop in light mode; checks at the end that there was no error and no request."""
    look(driver, 1280, "light")
    driver.get("about:blank")
    for log in ("browser", "performance"):
        driver.get_log(log)
    driver.get(address)
    yield driver
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert address in asked
    assert {url for url in asked if not url.startswith("data:")} == {address}


def look(driver: Any, width: int, mode: str, motion: str = "no-preference") -> None:
    """Sets the width of the screen in pixels, light or dark mode, and whether motion is wanted."""
    features = [
        {"name": "prefers-color-scheme", "value": mode},
        {"name": "prefers-reduced-motion", "value": motion},
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def luminance(colour: str) -> float:
    """Returns the relative luminance (WCAG 2) of a colour such as rgb(1, 2, 3)."""
    channels = np.array([float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(driver: Any, selector: str) -> float:
    """Returns the contrast ratio (WCAG 2) of a text to its background."""
    text, ground = driver.execute_script(
        """
        const own = document.querySelector(arguments[0]);
        let below = own;
        while (getComputedStyle(below).backgroundColor === "rgba(0, 0, 0, 0)") below = below.parentElement;
        const style = getComputedStyle(own);
        return [own instanceof SVGElement ? style.fill : style.color, getComputedStyle(below).backgroundColor];
        """,
        selector,
    )
    low, high = sorted([luminance(text), luminance(ground)])
    return (high + 0.05) / (low + 0.05)
