"""An agent as one writer: its configuration, its spool, its exporters; killed, started again, stopped."""

import re
import signal
import subprocess
import time

from cedana_api import CLUSTER
from exporters import Exporter
from processes import Failure, Process, free_port, http_get, wait_for
from road import Road

# Seconds, so that a short run makes many objects.
INTERVAL = 1
MAX_AGE = 2
EXPORTERS = 4

# How long before a kill -9 an answer must have been complete to be delivered: the journal promises one second after it was
# read, and reading it takes its time on a busy machine.
KILL_COSTS = 1.5

# What would say that samples were lost, or that uploading has stopped.
DROPPED = (
    "agent_samples_dropped_total", "agent_spool_dropped_samples_total", "agent_lines_bad_total", "agent_journal_errors_total",
    "agent_upload_stopped",
)

CONFIG = """global:
  scrape_interval: {interval}s
  scrape_timeout: {interval}s
scrape_configs:
  - job_name: judged
    static_configs:
      - targets: {targets}
        labels:
          node: {name}
batch:
  max_age: {max_age}s
spool:
  dir: {spool}
credentials:
  cedana:
    url: {cedana}
    auth_token_file: {token_file}
    cluster_id: {cluster}
sink:
  s3:
    endpoint_url: {s3}
    force_path_style: true
    prefix_suffix: {suffix}
    {writer}
server:
  listen: 127.0.0.1:{port}
ingestion: {ingestion}
internal_metrics: false
{more}"""


class Writer:
    """One agent with what it scrapes and its road to the S3 server. Every part is stopped by `close`."""

    def __init__(self, suite, name, suffix, writer=None, ingestion="plain", more=""):
        self.name = name
        self.road = Road(suite.s3.url)
        self.exporters = [Exporter() for _ in range(EXPORTERS)]
        # Of each kill -9: the moment before it, and the moment at which the process was gone.
        self.kills = []
        # What it counted before it was killed or stopped: as dropped, as delivered although no answer had said so, and as
        # taken from the journal of the process before.
        self.dropped = {}
        self.confirmed_late = 0
        self.replayed = 0
        self.process = None
        self._program = suite.options.agent
        self._work = suite.work
        self._spool = suite.work / f"{name}-spool"
        self._config = suite.work / f"{name}.yaml"
        token_file = suite.work / "auth-token"
        token_file.write_text(suite.cedana.token + "\n", "ascii")
        token_file.chmod(0o600)
        self._port = free_port()
        self._config.write_text(
            CONFIG.format(
                interval=INTERVAL, targets=[exporter.address for exporter in self.exporters], name=name, max_age=MAX_AGE,
                spool=self._spool, cedana=suite.cedana.url, token_file=token_file, cluster=CLUSTER, s3=self.road.url,
                suffix=suffix, writer=f"writer: {writer}" if writer else "", port=self._port, ingestion=ingestion,
                more=more,
            ),
            "utf-8",
        )

    def schema(self):
        """What `agent schema` prints for this configuration."""
        done = subprocess.run([self._program, "schema", "--config", self._config], cwd=self._work, env=self._env(),
                              capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise Failure(f"agent schema: {done.stderr}")
        return done.stdout

    def start(self):
        """Starts it on its spool, and waits until it is alive."""
        self.process = Process(self.name, [self._program, "--config", self._config], self._work, self._env())
        self.process.wait_ready(f"http://127.0.0.1:{self._port}/healthz")

    def kill(self):
        """kill -9, noted."""
        self._note()
        began = time.time()
        self.process.kill()
        self.kills.append((began, time.time()))

    def running(self):
        """A Failure when it has ended by itself."""
        if not self.process.running():
            raise Failure(f"{self.name} ended by itself: {self.process.tail()}")
        return True

    def metric(self, name):
        """The sum of one of its metrics over all labels."""
        status, text = http_get(f"http://127.0.0.1:{self._port}/metrics")
        if status != 200:
            raise Failure(f"{self.name} does not show its metrics: {status} {text}")
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        if not found:
            raise Failure(f"{self.name} has no metric {name}")
        return sum(float(value) for value in found)

    def finish(self, seconds):
        """No more answers; what was answered is delivered, and the agent stopped: its exit code."""
        for exporter in self.exporters:
            exporter.close_shop()
        answered = time.time()
        # A batch is sealed when it is old enough; then nothing of what was answered is on the way to the spool any more.
        wait_for("the last batch with answers", lambda: self.running() and time.time() > answered + MAX_AGE + 2 * INTERVAL, 60)
        wait_for("the spool to be delivered", lambda: self.running() and self.metric("agent_spool_objects") == 0, seconds, 0.1)
        self._note()
        return self.process.signal_and_wait(signal.SIGTERM, 40)

    def left(self):
        """Objects that are left in the spool."""
        return [path.name for path in self._spool.rglob("*") if path.suffix in (".parquet", ".log", ".gz")]

    def answered(self):
        """All answers, `{(address, number): moment}`, and those of them that a kill may have cost."""
        answers = {(exporter.address, number): moment for exporter in self.exporters
                   for number, moment in enumerate(exporter.answers, 1)}
        excused = {answer for answer, moment in answers.items()
                   if any(began - KILL_COSTS <= moment <= gone + 0.1 for began, gone in self.kills)}
        return answers, excused

    def _note(self):
        # Its counters end with it.
        for name in DROPPED:
            count = self.metric(name)
            if count:
                self.dropped[name] = self.dropped.get(name, 0) + count
        self.confirmed_late += self.metric("agent_uploads_confirmed_late_total")
        self.replayed += self.metric("agent_journal_replayed_samples_total")

    def close(self):
        """Ends everything of it."""
        if self.process:
            self.process.stop()
        self.road.close()
        for exporter in self.exporters:
            exporter.close()

    def _env(self):
        return {"PATH": "/usr/bin:/bin", "HOME": str(self._work), "RUST_BACKTRACE": "1"}
