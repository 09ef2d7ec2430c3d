"""One world: exporters, an agent with its spool, and proxies before the S3 server and the Cedana API. The agent has several
lives in it."""

import itertools
import os
import pathlib
import re
import signal
import time

from cedana_api import CLUSTER, CedanaApi
from exporters import Exporters
from ledger import DURABLE_SECONDS, KEY, Ledger
from processes import Failure, Process, http_get, wait_for
from proxy import CUT_REQUEST, Proxy, refuse
from s3_server import BUCKET

JOB = "faults"

CONFIG = """global:
  scrape_interval: {interval}
  scrape_timeout: {interval}
scrape_configs:
  - job_name: {job}
    static_configs:
      - targets: {targets}
batch:
  max_age: {max_age}
spool:
  dir: {spool}
  max_bytes: {spool_max}
credentials:
  cedana:
    url: {cedana}
    auth_token_file: {token_file}
    cluster_id: {cluster}
    refresh_interval: {refresh}
sink:
  s3:
    endpoint_url: {s3}
    force_path_style: true
{sink}
server:
  listen: 127.0.0.1:0
internal_metrics: false
{more}
"""


class Life:
    """One process of the agent, from its start to its end. Under the tracer if `trace` says what it shall do."""

    def __init__(self, world, number, trace):
        self.name = f"life-{number}"
        self.world = world
        self.report = world.work / f"{self.name}.report"
        command = [world.suite.options.agent, "--config", world.config]
        if trace is not None:
            command = [world.suite.options.kill_at, "--report", self.report, *trace, "--", *command]
        self.command = [str(word) for word in command]
        self.traced = trace is not None
        # Of the tracer's moments only a kill is an end.
        then = trace[trace.index("--then") + 1] if trace and "--then" in trace else "kill"
        self.ends_at_moment = self.traced and then.startswith("kill")
        self.began = time.time()
        # When it was killed; None while it lives and after an orderly end.
        self.died = None
        self._port = None
        self.process = Process(self.name, self.command, world.work, {"PATH": "/usr/bin:/bin", "HOME": str(world.work)})

    def pid(self):
        """The agent's own process id."""
        if not self.traced:
            return self.process.pid
        return int(wait_for(f"{self.name} to begin", lambda: re.search(r"^pid (\d+)", self._report()), 20).group(1))

    def _report(self):
        return self.report.read_text() if self.report.exists() else ""

    def moment(self):
        """What the tracer did first: time and place, as text; None if nothing."""
        found = re.search(r"^moment (\d+) (.*)$", self._report(), re.MULTILINE)
        return found and (int(found.group(1)) / 1000, found.group(2))

    def output(self):
        """What it printed."""
        return self.process.output.read_text("utf-8", "replace")

    def url(self):
        """Where its own pages are."""
        if self._port is None:
            def listening():
                if not self.process.running():
                    raise Failure(f"{self.world.name} {self.name} ended by itself: {self.process.tail()}")
                return re.search(r'"listen":"127\.0\.0\.1:(\d+)"', self.output())

            self._port = wait_for(f"{self.world.name} {self.name} to start", listening, 30).group(1)
        return f"http://127.0.0.1:{self._port}"

    def metrics(self):
        """`{name and labels: value}` of its own metrics; empty if it does not answer."""
        status, text = http_get(f"{self.url()}/metrics")
        if status != 200:
            return {}
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
                for line in text.splitlines() if line and not line.startswith("#")}

    def metric(self, name):
        """One of them, 0 if it is not there."""
        return self.metrics().get(name, 0.0)

    def kill(self):
        """kill -9, without any warning."""
        self.died = time.time()
        try:
            os.kill(self.pid(), signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.wait_end(15)

    def wait_end(self, seconds):
        """Waits for its end; whether it came. A life that ended by a kill knows when."""
        deadline = time.monotonic() + seconds
        while self.process.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        moment = self.moment()
        if self.ends_at_moment and moment and self.died is None:
            self.died = moment[0]
        return True

    def terminate(self, seconds=45):
        """SIGTERM; the exit code, None if it did not end in time."""
        os.kill(self.pid(), signal.SIGTERM)
        if not self.wait_end(seconds):
            return None
        return self.process._popen.returncode  # noqa: SLF001 -- the suite's own class


class World:
    """See the module. `name` is also the folder, and a part of the prefix in the bucket."""

    def __init__(self, suite, name, targets=6, series=20, wide=0, interval="1s", max_age="500ms", spool=None,
                 spool_max="256MiB", lifetime=600, refresh="45m", sink="", more=""):
        self.suite = suite
        self.name = name
        self.work = suite.work / name
        self.work.mkdir(parents=True)
        self.prefix = f"{name}/v2/agent/data"
        self.exporters = Exporters(targets, series, wide)
        self.cedana = CedanaApi(suite.s3, lifetime, self.prefix)
        self.cedana_proxy = Proxy(self.cedana.url)
        self.s3_proxy = Proxy(suite.s3.url)
        self.spool = spool or self.work / "spool"
        self.config = self.work / "agent.yaml"
        self.lives = []
        token_file = self.work / "auth-token"
        token_file.write_text(self.cedana.token + "\n", "ascii")
        token_file.chmod(0o600)
        self.values = {
            "interval": interval, "job": JOB, "targets": str(self.exporters.addresses()).replace("'", '"'),
            "max_age": max_age, "spool": self.spool, "spool_max": spool_max, "cedana": self.cedana_proxy.url,
            "token_file": token_file, "cluster": CLUSTER, "refresh": refresh, "s3": self.s3_proxy.url, "sink": sink, "more": more,
        }
        self.configure()
        suite.closing.append(self.close)

    def configure(self, **changes):
        """Writes the configuration for the lives to come."""
        self.values.update(changes)
        self.config.write_text(CONFIG.format(**self.values), "utf-8")

    def start(self, trace=None):
        """Starts a life."""
        life = Life(self, len(self.lives), trace)
        self.lives.append(life)
        return life

    def life(self):
        """The life that is now."""
        return self.lives[-1]

    def scrapes(self, more, seconds=30):
        """Waits until so many more scrapes were answered."""
        goal = self.exporters.answered() + more
        wait_for(f"{self.name}: {more} more scrapes", lambda: self.exporters.answered() >= goal, seconds)

    def delivered(self, more=1, seconds=60):
        """Waits until so many more PUTs were answered with success."""
        done = lambda: sum(1 for put in self.s3_proxy.puts() if put.told == 200)  # noqa: E731
        goal = done() + more
        wait_for(f"{self.name}: {more} more objects", lambda: done() >= goal, seconds)

    def drained(self, seconds=90):
        """Waits until nothing of before is left in the spool."""
        newest = max((int(path.name.split(".")[0]) for path in self.spool.glob("*.parquet")), default=None)
        if newest is not None:
            wait_for(f"{self.name}: the spool to be empty of what was",
                     lambda: not any(int(path.name.split(".")[0]) <= newest for path in self.spool.glob("*.parquet")), seconds)

    def files(self, pattern):
        """Files of the spool, by name."""
        return sorted(path.name for path in pathlib.Path(self.spool).glob(pattern))

    def finish(self, checks, name=None, gaps=0, allowed=None, seconds=90):
        """The last life ends in order, everything is delivered, and the ledger closes. `allowed(instance, answer)` excuses
        answers. Gives the ledger."""
        name = name or self.name
        life = self.life() if self.lives and self.life().process.running() else self.start()
        life.url()
        self.scrapes(4)
        self.drained(seconds)
        self.exporters.closed = True
        # A scrape that is under way is answered, and read, within this time.
        time.sleep(0.3)
        code = life.terminate()
        checks.that(f"{name}: SIGTERM ends the agent with exit code 0", code == 0, lambda: f"{code}: {life.process.tail(8)}")
        checks.equal(f"{name}: nothing is left in the spool", self.files("*.parquet"), [])
        book = Ledger(self.suite.s3, self.prefix)
        kept = lambda answer: self.is_required(answer) and not (allowed and allowed(answer))  # noqa: E731
        book.check(checks, name, self.exporters.targets, kept, self.uploads(), gaps)
        return book

    def is_required(self, answer):
        """Whether no kill excuses the loss of this answer."""
        for life in self.lives:
            if life.died is not None and life.began <= answer.done:
                if life.died - DURABLE_SECONDS < answer.done <= life.died + 0.5:
                    return False
        return True

    def unavailable(self):
        """S3 goes away: connections are cut, or answered by 503, in turn."""
        faults = itertools.cycle([CUT_REQUEST, refuse(503, "ServiceUnavailable"), refuse(503, "SlowDown")])
        self.s3_proxy.plan = lambda request: next(faults)

    def available(self, plan=lambda request: None):
        """S3 is back."""
        self.s3_proxy.plan = plan

    def check_uploads(self, checks, name=None):
        """One PUT in flight at most, and every attempt at a key with the same bytes."""
        name, puts, bytes_of = name or self.name, self.s3_proxy.puts(), {}
        checks.that(f"{name}: never two uploads in flight", self.s3_proxy.in_flight_max <= 1, self.s3_proxy.in_flight_max)
        for put in puts:
            if put.crc is not None:
                bytes_of.setdefault(put.path, set()).add((put.size, put.crc))
        checks.none(f"{name}: every attempt at a key has the same bytes",
                    [(path, found) for path, found in bytes_of.items() if len(found) > 1])

    def uploads(self):
        """Keys in the order of their uploads."""
        return [found.group(0) for found in (KEY.search(put.path) for put in self.s3_proxy.puts()) if found]

    def close(self):
        """Ends everything."""
        for life in self.lives:
            if life.process.running():
                life.kill()
        for part in (self.exporters, self.cedana_proxy, self.s3_proxy, self.cedana):
            part.close()


def bucket_path(prefix):
    """How the path of a request begins."""
    return f"/{BUCKET}/{prefix}/"
