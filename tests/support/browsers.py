"""The machine's Chromium, as tests start it."""

import os
import shutil

from playwright.sync_api import Browser, Playwright

STILL = {"reduced_motion": "reduce"}  # what moves is drawn 60 times a second, by the processor

# Chromium renders these two pages of its own for every new context, in more than a second; a window that nobody sees
# has no use for them.
UNSEEN = "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup"


def chromium() -> str | None:
    """The machine's browser; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("XMCGAN_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def launch(playwright: Playwright) -> Browser:
    """The machine's browser, without a window."""
    return playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", UNSEEN])
