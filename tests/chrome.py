"""A headless Chromium that can reach nothing but this machine, for the tests that look at pages."""
import os
import shutil
from contextlib import contextmanager

import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
WAIT = 600_000  # ms. Only a page that hangs waits so long; one on a machine under load is slow and right.


@contextmanager
def page(width=1200, height=900):
    "A page, and the list of what went wrong in it. Skips where there is no Chromium, unless this is CI."
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None and not os.environ.get("CI"):
        pytest.skip("no Chromium here: apt-get install chromium fonts-dejavu-core")
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            tab = browser.new_page(viewport=dict(width=width, height=height))
            tab.set_default_timeout(WAIT)
            wrong = []
            tab.on("pageerror", lambda e: wrong.append(f"error: {e}"))
            tab.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
            tab.on("response", lambda r: wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
            yield tab, wrong
        finally: browser.close()
