"""The agent as a user runs it: a configuration file, the release binary, SIGTERM."""

import json
import signal
import subprocess
import time

from cedana_api import CLUSTER
from processes import Failure, Process, free_port, http_get, wait_for

JOB = "node-exporter"
NODE = "suite-node"

CONFIG = """global:
  scrape_interval: {interval}
  scrape_timeout: {interval}
scrape_configs:
  - job_name: {job}
    static_configs:
      - targets: ["{target}"]
        labels:
          node: {node}
batch:
  max_age: {max_age}
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
server:
  listen: 127.0.0.1:{port}
internal_metrics: false
"""


class Agent:
    """The binary with its configuration; `start` and `stop` make up a phase."""

    def __init__(self, program, work, options, proxy, cedana, s3):
        self.program = program
        self.work = work
        self.proxy = proxy
        self.interval = options.interval
        self.target = f"127.0.0.1:{proxy.port}"
        # The labels that every sample of the target gets.
        self.labels = {"job": JOB, "instance": self.target, "node": NODE}
        self.spool = work / "spool"
        self.process = None
        self.pages = []
        token_file = work / "auth-token"
        token_file.write_text(cedana.token + "\n", "ascii")
        token_file.chmod(0o600)
        self.port = free_port()
        self.config = work / "agent.yaml"
        self.config.write_text(
            CONFIG.format(
                interval=f"{options.interval}s", job=JOB, target=self.target, node=NODE, max_age=f"{options.max_age}s",
                spool=self.spool, cedana=cedana.url, token_file=token_file, cluster=CLUSTER, s3=s3.url, port=self.port,
            ),
            "utf-8",
        )

    def run_once(self, *arguments):
        """Runs the binary to its end: exit code, standard output, standard error."""
        done = subprocess.run(
            [self.program, *arguments, "--config", str(self.config)],
            cwd=self.work, env=self._env(), capture_output=True, text=True, timeout=60, check=False,
        )
        self.pages.append(done.stdout + done.stderr)
        return done.returncode, done.stdout, done.stderr

    def dry_run(self):
        """`agent --dry-run`: exit code, samples by identity, standard error."""
        code, out, err = self.run_once("--dry-run")
        return code, [json.loads(line) for line in out.splitlines()], err

    def start(self):
        """Starts it, and waits until it is alive."""
        self.process = Process("agent", [self.program, "--config", self.config], self.work, self._env())
        self.process.wait_ready(f"http://127.0.0.1:{self.port}/healthz")

    def page(self, path):
        """One of its pages; kept, to be searched for secrets."""
        status, text = http_get(f"http://127.0.0.1:{self.port}{path}")
        self.pages.append(text)
        return status, text

    def watch(self, seconds):
        """Lets it run, looking at it once in a while; a Failure when it ends by itself."""
        deadline = time.monotonic() + seconds

        def over():
            if not self.process.running():
                raise Failure(f"the agent ended by itself: {self.process.tail()}")
            return time.monotonic() >= deadline

        wait_for("the run to be over", over, seconds + 10, 0.1)

    def pause(self):
        """Waits for a moment between two scrapes: what was served is then what was scraped, and no scrape is cut."""
        wait_for("a pause between two scrapes", lambda: self.proxy.quiet_for(self.interval * 0.3), 30, 0.01)

    def stop(self):
        """SIGTERM: exit code and the seconds it took."""
        began = time.monotonic()
        code = self.process.signal_and_wait(signal.SIGTERM, 40)
        return code, time.monotonic() - began

    def output(self):
        """All that it printed so far, in all phases."""
        return self.process.output.read_text("utf-8", "replace") if self.process else ""

    def close(self):
        """Ends it if it still runs."""
        if self.process:
            self.process.stop()

    def _env(self):
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.work), "RUST_BACKTRACE": "1"}
