#!/usr/bin/env python3
"""The agent in its bad hour: killed at every named moment, cut off, refused, without disk, with flipped bits, for hours.

Drives the real binary between exporters that number their answers, a Cedana API, and MinIO, with a proxy before each of the
latter two. After each scenario the ledger is closed by identity: every answered scrape is in the bucket once and whole, and
what is not is counted (ledger.py says the rules).

Everything listens on loopback and runs in a process and a mount namespace of its own, which ends with this program. Needs
root. Exit code 0 when every check passed.
"""

import argparse
import os
import pathlib
import random
import shutil
import sys
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "real_parts"))
INSIDE = "FAULTS_SUITE_INSIDE"

# Run beside each other: most of them mostly wait.
SCENARIOS = ("soak", "outage", "kills", "network", "disk", "corruption")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=pathlib.Path, default="target/release/agent", help="the agent's binary (%(default)s)")
    parser.add_argument("--kill-at", type=pathlib.Path, default="target/debug/kill_at", help="the tracer's binary (%(default)s)")
    parser.add_argument("--minio", type=pathlib.Path, required=True, help="MinIO's binary")
    parser.add_argument("--work", type=pathlib.Path, default="target/faults", help="folder for everything, emptied first (%(default)s)")
    parser.add_argument("--long", action="store_true", help="500 kills, 20 minutes of soak, a day's backlog")
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios to run (%(default)s)")
    parser.add_argument("--case", default="", help="of these, only the cases whose name holds this")
    parser.add_argument("--seed", type=int, default=None, help="repeats what a run with this seed did")
    return parser.parse_args()


def enter():
    """Starts this program again inside namespaces of its own: what it starts and mounts ends with it, whatever happens."""
    os.environ[INSIDE] = "1"
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    os.execvp("unshare", [*words, sys.executable, *sys.argv])


class Suite:
    """What the scenarios share."""

    def __init__(self, options, checks, closing, work, s3):
        self.options = options
        self.checks = checks
        self.closing = closing
        self.work = work
        self.s3 = s3
        self.long = options.long
        self.seed = options.seed

    def random(self, name):
        """A source of chance of a scenario's own: the same for the same seed."""
        return random.Random(f"{self.seed} {name}")

    def wanted(self, case):
        """Whether a case is to be run."""
        return self.options.case in case

    def say(self, text):
        """Prints a line that is no check."""
        print(f"--      {text}", flush=True)

    def repeat(self, scenario, case):
        """The command that runs one case again."""
        return f"{sys.argv[0]} --only {scenario} --case '{case}' --seed {self.seed} (and the other options as they were)"

    def beside(self, functions):
        """Calls functions beside each other, each a section of its own by its name."""
        threads = [threading.Thread(target=self.checks.section, args=(name, function)) for name, function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def run(options, checks, closing):
    from s3_server import S3Server

    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    s3 = S3Server(options.minio, work)
    closing.append(s3.stop)
    suite = Suite(options, checks, closing, work, s3)
    suite.say(f"seed {options.seed}, work folder {work}")
    began = time.monotonic()

    def scenario(name):
        since = time.monotonic()
        checks.section(name, __import__(name).check, suite)
        suite.say(f"{name}: {time.monotonic() - since:.0f} s")

    suite.beside([(name, lambda name=name: scenario(name)) for name in options.only.split(",")])
    suite.say(f"all: {time.monotonic() - began:.0f} s")


def main():
    options = arguments()
    unknown = set(options.only.split(",")) - set(SCENARIOS)
    if unknown:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if os.environ.get(INSIDE) != "1":
        enter()
    from checks import Checks

    options.agent, options.kill_at, options.minio = (
        path.resolve(strict=True) for path in (options.agent, options.kill_at, options.minio))
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(4))
    checks, closing = Checks(), []
    try:
        run(options, checks, closing)
    except Exception:  # whatever it was: said and counted
        traceback.print_exc(file=sys.stdout)
        checks.that("the suite ran to its end", False, "see above")
    finally:
        for close in reversed(closing):
            try:
                close()
            except Exception:
                traceback.print_exc(file=sys.stdout)
                checks.that("everything started was stopped", False, "see above")
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
