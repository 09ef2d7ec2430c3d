"""Chromium with a watch on it: what it asked for, what it complained of, and whether anything ran that is not ours."""

import time
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright
from processes import Failure

# Milliseconds: above two rounds of the page's own, on a busy machine.
PATIENCE = 30_000


class Browser:
    """One Chromium; each tab begins with nothing that another one knows."""

    def __init__(self, chromium, screenshots=None):
        self._chromium, self._screenshots = chromium, screenshots

    def __enter__(self):
        self._playwright = sync_playwright().start()
        # The suite runs as root in its own machine, where Chromium's sandbox does not start.
        self._browser = self._playwright.chromium.launch(executable_path=str(self._chromium), args=["--no-sandbox"])
        self.version = self._browser.version
        return self

    def __exit__(self, *_):
        self._browser.close()
        self._playwright.stop()

    def open(self, agent, query="", scheme="light", width=1360, height=900):
        """A tab that shows the agent's page."""
        context = self._browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        return Tab(context, agent.url, query, self._screenshots)


class Tab:
    """A tab and what happened in it."""

    def __init__(self, context, url, query, screenshots):
        self.url, self._screenshots = url, screenshots
        self.asked, self.elsewhere, self.complaints, self.dialogs, self.bytes = [], [], [], [], 0
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", self._request)
        # Bytes as they came over the wire, heads included.
        self._protocol = context.new_cdp_session(self.page)
        self._protocol.send("Network.enable")
        self._protocol.on("Network.loadingFinished", self._finished)
        self.page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)
        # What the policy forbids is told to the document; a script of ours never causes it.
        self.page.add_init_script(
            "window.violations = [];"
            "document.addEventListener('securitypolicyviolation', (v) => window.violations.push(v.violatedDirective + ' ' + v.blockedURI));"
        )
        self.page.goto(url + query)

    def _request(self, request):
        address = urlsplit(request.url)
        if address.scheme in ("data", "blob"):
            return
        self.asked.append(request.url)
        if address.netloc != urlsplit(self.url).netloc:
            self.elsewhere.append(request.url)

    def _finished(self, loaded):
        self.bytes += int(loaded["encodedDataLength"])

    def _dialog(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def text(self, selector):
        """The text of the first match."""
        return self.page.locator(selector).first.inner_text()

    def texts(self, selector):
        """The texts of all matches."""
        return self.page.locator(selector).all_inner_texts()

    def wait(self, selector, text=None):
        """Waits until something is there that matches, and holds the text."""
        place = self.page.locator(selector)
        if text is not None:
            place = place.filter(has_text=text)
        place.first.wait_for()
        return place.first

    def until(self, expression):
        """Waits until a JavaScript expression is true. From outside, since the policy lets nothing in the page evaluate texts."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not self.value(expression):
            if time.monotonic() > deadline:
                raise Failure(f"waited in vain for {expression}")
            self.page.wait_for_timeout(50)

    def value(self, expression):
        """The value of a JavaScript expression."""
        return self.page.evaluate(expression)

    def picture(self, name, whole=False):
        """Keeps a picture, if there is a folder for it."""
        if self._screenshots:
            self.page.screenshot(path=self._screenshots / f"{name}.png", full_page=whole)

    def check_clean(self, checks, what):
        """Nobody else was asked, nothing was complained of, nothing ran."""
        checks.none(f"{what}: no request to anybody else", self.elsewhere)
        checks.none(f"{what}: no complaint on the console", self.complaints)
        checks.none(f"{what}: the policy had nothing to forbid", self.value("window.violations"))
        checks.none(f"{what}: no dialog", self.dialogs)

    def close(self):
        """Closes it."""
        self.page.context.close()
