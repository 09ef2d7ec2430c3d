#!/usr/bin/env python3
"""The page at `/`, in a real browser: does an operator find what is wrong, whatever the labels hold and however many targets there are?

Chromium (Debian's) opens the page of the unmodified binary, which scrapes exporters of this suite and uploads to a bucket of this
suite: failing targets and their reasons, live updates, deep links, keyboard, names for screen readers (axe-core), light and dark,
hostile labels, an outage, five thousand targets.

Everything listens on loopback ports chosen by the system, and the browser may ask nobody else. Exit code 0 when every check passed.
"""

import argparse
import pathlib
import shutil
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(TESTS / "real_parts"))

from browser import Browser
from checks import Checks
from world import World

SCENARIOS = ("looking", "hostile", "many", "outage")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=pathlib.Path, default="target/debug/agent", help="the agent's binary (%(default)s)")
    parser.add_argument("--chromium", type=pathlib.Path, default="/usr/bin/chromium", help="the browser (%(default)s)")
    parser.add_argument("--work", type=pathlib.Path, default="target/page",
                        help="folder for logs and configurations, emptied first (%(default)s)")
    parser.add_argument("--screenshots", type=pathlib.Path, help="a folder for pictures of what was seen")
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios to run (%(default)s)")
    return parser.parse_args()


def main():
    options, checks = arguments(), Checks()
    options.agent, work = options.agent.resolve(), options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if options.screenshots:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    world = World(options.agent, work)
    try:
        with Browser(options.chromium, options.screenshots) as browser:
            print(f"--      work folder {work}, Chromium {browser.version}", flush=True)
            for name in options.only.split(","):
                began = time.monotonic()
                checks.section(name, __import__(name).check, checks, world, browser)
                print(f"--      {name}: {time.monotonic() - began:.0f} s", flush=True)
    finally:
        world.close()
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed or not checks.passed else 0


if __name__ == "__main__":
    sys.exit(main())
