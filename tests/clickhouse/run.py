#!/usr/bin/env python3
"""ClickHouse as the judge: does its queue read all that the agent delivers, once, whatever happens to the agent?

The real engine reads the bucket through S3Queue in `ordered` mode, with its pointers in a real ZooKeeper, into the table
that `agent schema` prints, while the agent is killed with kill -9 and cut off from S3 (MinIO). In the end: rows FINAL in
the table = distinct (series, timestamp) in the objects = distinct (series, timestamp) that the exporters answered; no
object was skipped by the pointer, and none was read twice.

Everything listens on loopback ports chosen by the system. Exit code 0 when every check passed.
"""

import argparse
import pathlib
import shutil
import sys
import time
import traceback

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path += [str(TESTS / "real_parts"), str(TESTS / "faults")]

from cedana_api import CedanaApi
from checks import Checks
from engine import Engine
from s3_server import S3Server
from zookeeper import ZooKeeper

SCENARIOS = ("ordered", "partitioned", "deployed", "questions", "cluster", "dashboards", "vector_json", "host_metrics", "events", "migration",
             "documents")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=pathlib.Path, default="target/release/agent", help="the agent's binary (%(default)s)")
    parser.add_argument("--minio", type=pathlib.Path, required=True, help="MinIO's binary")
    parser.add_argument("--zookeeper-jars", type=pathlib.Path, default="/usr/share/java",
                        help="folder with ZooKeeper's jars, as Debian's libzookeeper-java installs them (%(default)s)")
    parser.add_argument("--work", type=pathlib.Path, default="target/clickhouse",
                        help="folder for logs, spools, bucket and tables, emptied first (%(default)s)")
    parser.add_argument("--seconds", type=float, default=50, help="how long the agent of `ordered` has trouble, once through "
                        "all of it at least (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the moments of trouble (the clock)")
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios to run (%(default)s)")
    return parser.parse_args()


class Suite:
    """What the scenarios share: one S3 server, one ZooKeeper, one engine."""

    def __init__(self, options, checks, closing, work):
        self.options, self.checks, self.closing, self.work = options, checks, closing, work
        self.s3 = S3Server(options.minio, work)
        closing.append(self.s3.stop)
        # Longer than the run: rotation of credentials is another suite's matter.
        self.cedana = CedanaApi(self.s3, 3600)
        closing.append(self.cedana.close)
        zookeeper = ZooKeeper(options.zookeeper_jars, work)
        closing.append(zookeeper.close)
        self.engine = Engine(zookeeper, work)
        closing.append(self.engine.close)


def run(options, checks, closing):
    options.agent, options.minio, work = (path.resolve() for path in (options.agent, options.minio, options.work))
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    suite = Suite(options, checks, closing, work)
    print(f"--      work folder {work}, ClickHouse {suite.engine.version}, seed {options.seed}", flush=True)
    for name in options.only.split(","):
        began = time.monotonic()
        checks.section(name, __import__(name).check, suite)
        print(f"--      {name}: {time.monotonic() - began:.0f} s", flush=True)


def main():
    options = arguments()
    unknown = set(options.only.split(",")) - set(SCENARIOS)
    if unknown:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}")
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
