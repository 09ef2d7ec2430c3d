"""The road of one writer to the S3 server: the proxy of the suite of faults, in one mode at a time."""

import threading
import time

from proxy import CUT_REQUEST, LOSE_ANSWER, TRUNCATE, Proxy

# `cut`: connections are reset at once. `lose`: an object arrives, its answer does not. `tear`: half of an object arrives.
# `silence`: bodies are held back, and arrive when the mode changes, whether their sender still lives or not.
FAULTS = {"pass": None, "cut": CUT_REQUEST, "lose": LOSE_ANSWER, "tear": TRUNCATE, "silence": None}
# However long the mode stays, nothing is held back longer than this.
SILENCE_MAX = 60


class Road(Proxy):
    """Requests fare as `mode` says. `hit` counts the PUTs that have met each mode."""

    def __init__(self, url):
        super().__init__(url)
        self.mode = "pass"
        self.hit = dict.fromkeys(FAULTS, 0)
        self._counting = threading.Lock()
        self.plan = self._meet
        self.at = self._hold

    def _meet(self, request):
        mode = self.mode
        if request.is_put():
            with self._counting:
                self.hit[mode] += 1
            return FAULTS[mode]
        # A writer that cannot list comes to no PUT.
        return FAULTS[mode] if mode == "cut" else None

    def _hold(self, moment, _):
        until = time.monotonic() + SILENCE_MAX
        while moment == "body" and self.mode == "silence" and time.monotonic() < until:
            time.sleep(0.02)

    def close(self):
        """Ends it, and lets go what it holds."""
        self.mode = "cut"
        super().close()
