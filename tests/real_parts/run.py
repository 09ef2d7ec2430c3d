#!/usr/bin/env python3
"""The agent end to end with real parts.

Debian's prometheus-node-exporter is scraped through a proxy that keeps what was served; MinIO takes the objects, and its
STS issues the keys, which a small Cedana API hands out with a short life and which are revoked during the run. The agent
runs as a user runs it, is stopped with SIGTERM, is started again on the same spool and stopped again. Then pyarrow and
the ClickHouse engine read the objects, and every sample is compared with what the exporter served. Beside it, the host as the
agent reads it itself is compared with what the exporter says (host.py).

Everything listens on loopback ports chosen by the system. Exit code 0 when every check passed.
"""

import argparse
import pathlib
import shutil
import sys
import time
import traceback

import host
import verify
from agent import Agent
from cedana_api import CLUSTER, CedanaApi
from checks import Checks
from expected import REPORT, bits, samples_of, series
from exporter import Proxy, start_exporter
from s3_server import BUCKET, PREFIX, S3Server


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=pathlib.Path, default="target/release/agent", help="the agent's binary (%(default)s)")
    parser.add_argument("--minio", type=pathlib.Path, required=True, help="MinIO's binary")
    parser.add_argument("--work", type=pathlib.Path, default="target/real-parts",
                        help="folder for logs, spool and bucket, emptied first (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long the agent runs, both phases together (%(default)s)")
    parser.add_argument("--interval", type=int, default=1, help="seconds between scrapes (%(default)s)")
    parser.add_argument("--max-age", type=int, default=5, help="batch.max_age in seconds (%(default)s)")
    parser.add_argument("--expiration", type=int, default=20,
                        help="life of credentials in seconds, as the API declares it (%(default)s)")
    parser.add_argument("--revocations", type=int, default=1, help="how often the keys in use are revoked (%(default)s)")
    return parser.parse_args()


class Phase:
    """One run of the agent, from start to exit: what it was served, and its own metrics just before the end."""

    def __init__(self, name, began, agent, metrics):
        self.name = name
        self.began = began
        self.ended = time.time()
        self.bodies = agent.proxy.take()
        self.metrics = metrics
        self.cpu_seconds = agent.process.cpu_seconds
        self.rss_peak_kib = agent.process.rss_peak_kib


def say(text):
    print(f"--      {text}", flush=True)


def check_server(checks, s3):
    """The S3 server does what the suite relies on; otherwise the other checks prove nothing."""
    keys = s3.issue()
    # Outside the agent's prefix nothing may be written; inside, a name the checks know is taken away again.
    key = f"{PREFIX}/0000000000/suite"
    checks.equal("the S3 server takes a first PUT with If-None-Match", s3.try_put(keys, key, IfNoneMatch="*"), 200)
    checks.equal("the S3 server refuses the second", s3.try_put(keys, key, IfNoneMatch="*"), "PreconditionFailed")
    checks.equal("temporary keys are good for the prefix only", s3.try_put(keys, "elsewhere/suite"), "AccessDenied")
    s3.revoke()
    checks.equal("revoked keys are refused at once", s3.try_put(keys, key), "InvalidAccessKeyId")
    s3.s3.delete_object(Bucket=BUCKET, Key=key)


def check_commands(checks, agent, proxy):
    """`agent check` and `agent --dry-run`, which need neither credentials nor S3."""
    code, out, err = agent.run_once("check")
    checks.equal("agent check accepts the configuration", (code, (out + err)[-400:] if code else ""), (0, ""))
    proxy.take()
    code, samples, err = agent.dry_run()
    checks.that("agent --dry-run exits 0", code == 0, err[-400:])
    bodies = proxy.take()
    if not checks.equal("agent --dry-run scrapes the target once", len(bodies), 1):
        return
    found = {}
    for sample in samples:
        if sample["metric"] not in REPORT:
            value = float(sample["value"])
            found[(sample["metric"], sample["type"], series(sample["labels"]))] = bits(value)
    expected = samples_of(bodies[0].text(), {**agent.labels, "cluster_id": CLUSTER})
    checks.none("agent --dry-run prints what the exporter served", verify.differences(expected, found))


def run_phase(checks, agent, seconds, revocations, s3, name):
    """Starts the agent, lets it run, revokes its keys on the way, stops it with SIGTERM."""
    say(f"{name}: {seconds:.0f} s")
    began = time.time()
    agent.start()
    for _ in range(revocations):
        agent.watch(seconds / (revocations + 1))
        # Only keys that were already used can be refused.
        say(f"{name}: revoking the credentials in use ({len(s3.puts)} PUTs so far)")
        s3.revoke()
    agent.watch(seconds - (seconds / (revocations + 1)) * revocations)
    for path in ("/targets", "/healthz"):
        checks.equal(f"{name}: {path} answers", agent.page(path)[0], 200)
    status, why = agent.page("/readyz")
    checks.equal(f"{name}: the agent is ready", (status, why if status != 200 else ""), (200, ""))
    agent.pause()
    status, metrics = agent.page("/metrics")
    checks.equal(f"{name}: /metrics answers", status, 200)
    code, took = agent.stop()
    checks.equal(f"{name}: SIGTERM ends the agent with exit code 0", code, 0)
    checks.that(f"{name}: the agent ends within its deadline", took < 30, f"{took:.1f} s")
    return Phase(name, began, agent, metrics)


def run(options, checks, closing):
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    say(f"work folder {work}")

    s3 = S3Server(options.minio.resolve(), work)
    closing.append(s3.stop)
    check_server(checks, s3)
    exporter, exporter_port = start_exporter(work)
    closing.append(exporter.stop)
    proxy = Proxy(exporter_port)
    closing.append(proxy.close)
    cedana = CedanaApi(s3, options.expiration)
    closing.append(cedana.close)
    agent = Agent(options.agent.resolve(), work, options, proxy, cedana, s3)
    closing.append(agent.close)

    check_commands(checks, agent, proxy)
    checks.section("host", host.run, checks, agent.program, work)
    proxy.connections = 0
    first = run_phase(checks, agent, options.seconds * 0.75, options.revocations, s3, "first phase")
    checks.equal("first phase: scrapes share one connection", proxy.connections, 1)
    second = run_phase(checks, agent, options.seconds * 0.25, 0, s3, "second phase")
    checks.none("the proxy had no trouble", proxy.problems)

    verify_run(checks, options, agent, cedana, s3, (first, second))


def verify_run(checks, options, agent, cedana, s3, phases):
    """All checks of what was delivered, and the figures."""
    bodies = [body for phase in phases for body in phase.bodies]
    listing = s3.objects()
    checks.section("keys", verify.check_keys, checks, listing)
    say(f"reading {len(listing)} objects and {len(bodies)} bodies")
    objects, raw = verify.read_objects(checks, s3, listing)
    checks.section("layout", verify.check_objects, checks, objects)
    times = [(phase.began, phase.ended) for phase in phases]
    checks.section("flushes", verify.check_flushes, checks, objects, times, options.interval, options.max_age)
    served = checks.section("samples", verify.check_samples, checks, objects, bodies, agent.labels)
    for phase in phases:
        checks.section("ledger", verify.check_ledger, checks, phase, agent.labels)
    totals = checks.section("readers", verify.check_readers, checks, s3, objects, raw)
    checks.section("uploads", verify.check_uploads, checks, s3.puts, cedana, listing, options.revocations)
    checks.section("credentials", verify.check_rotation, checks, s3.puts, cedana, times)
    spooled = {str(path): path.read_bytes() for path in agent.spool.rglob("*") if path.is_file()}
    checks.none("nothing is left in the spool", [name for name in spooled if name.endswith(".parquet")])
    pages = [(f"page {index}", page) for index, page in enumerate(agent.pages)]
    places = [("output", agent.output()), *pages, *spooled.items(), *raw.items()]
    checks.section("secrets", verify.check_secrets, checks, cedana.secrets(), places)
    report(objects, totals, served, cedana, phases)


def report(objects, totals, served, cedana, phases):
    """The figures of the run."""
    size = sum(delivered.size for delivered in objects)
    cpu = sum(phase.cpu_seconds for phase in phases)
    rows = max(totals.rows if totals else 0, 1)
    seconds = sum(phase.ended - phase.began for phase in phases)
    say(f"{served} samples served, {rows} delivered, {totals and totals.distinct} series, {len(objects)} objects")
    say(f"{size} bytes of objects, {size / rows:.2f} bytes per sample, {len(objects) * 60 / seconds:.1f} objects a minute")
    say(f"{len(cedana.issued)} sets of credentials issued")
    say(f"agent: {cpu:.2f} CPU seconds, {cpu * 1e9 / rows:.0f} ns per sample, peak RSS "
        f"{max(phase.rss_peak_kib for phase in phases) / 1024:.1f} MiB")


def main():
    options = arguments()
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
