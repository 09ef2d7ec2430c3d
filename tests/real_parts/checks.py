"""Named checks: each is counted, and a failed one says why on the spot."""

import sys
import threading
import traceback


class Checks:
    """Counts checks, also those made beside each other; `failed` is what the exit code is made of."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self._lock = threading.Lock()

    def that(self, name, holds, why=""):
        """Counts one check. `why` (text, or a function that makes it) is printed when it does not hold."""
        reason = why() if not holds and callable(why) else why
        with self._lock:
            if holds:
                self.passed += 1
                print(f"ok      {name}", flush=True)
            else:
                self.failed += 1
                print(f"FAILED  {name}: {reason}", flush=True)
        return bool(holds)

    def equal(self, name, found, expected):
        """Counts one check that two values are equal; both are shown, shortened, when they are not."""
        return self.that(name, found == expected, lambda: f"found {_short(found)}, expected {_short(expected)}")

    def none(self, name, offenders):
        """Counts one check that a list of offenders is empty; the first few are shown when it is not."""
        offenders = list(offenders)
        return self.that(name, not offenders, lambda: f"{len(offenders)}, such as {_short(offenders[:3])}")

    def section(self, name, function, *arguments):
        """Calls a function that makes checks; an exception in it is a failed check, and the next section goes on."""
        try:
            return function(*arguments)
        except Exception:  # whatever it was: said and counted
            traceback.print_exc(file=sys.stdout)
            self.that(f"{name}: ran to its end", False, "see above")
            return None


def _short(value):
    text = repr(value)
    return text if len(text) <= 600 else text[:600] + " ..."
