#!/usr/bin/env python3
"""Memory under the three loads that take most of it, each below the bound that the agent prints at its start: a thousand
targets, one exposition of a hundred megabytes, and series that are new at every scrape.

    tests/faults/memory.py --agent target/release/agent [--only churn]

Also a scenario of run.py. Loopback only; objects go to a directory.
"""

import argparse
import pathlib
import re
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

CONFIG = """global: {{scrape_interval: {interval}, scrape_timeout: {interval}, body_size_limit: 128MB}}
scrape_configs:
  - job_name: memory
    static_configs: [{{targets: [{targets}]}}]
    relabel_configs:
      - {{source_labels: [__address__], target_label: instance}}
      - {{replacement: "127.0.0.1:{port}", target_label: __address__}}
batch: {{max_age: 5s}}
limits: {{max_series: {series}, max_body_bytes: {bodies}}}
spool: {{dir: {work}/spool}}
sink: {{file: {{dir: {work}/objects}}}}
server: {{listen: "127.0.0.1:0"}}
"""

# Bytes of the large exposition.
LARGE = 100 * 1000 * 1000


class Exporter(socketserver.ThreadingTCPServer):
    """Gives what `body(number)` says for the number of the request."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 1024

    def __init__(self, body):
        self.body, self.answered, self.lock = body, 0, threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def next(self):
        with self.lock:
            self.answered += 1
            return self.body(self.answered - 1)


class Handler(socketserver.StreamRequestHandler):
    """One connection, as many requests as it has."""

    def handle(self):
        while True:
            line = self.rfile.readline()
            if not line:
                return
            while self.rfile.readline().strip():
                pass
            body = self.server.next()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
            try:
                self.wfile.write(head.encode())
                self.wfile.write(body)
            except OSError:
                return


def lines(name, count, run):
    """An exposition of so many series of their own, of the usual length."""
    start = f'{name}{{namespace="default",pod="workload-7d9c5b6f4-{run:06}",container="main",uid="'
    return "".join(f'{start}{i:032x}"}} {i}.5\n' for i in range(count)).encode()


def thousand():
    body = lines("targets_metric", 200, 0)
    return {"targets": 1000, "interval": "10s", "series": 300_000, "bodies": "32MiB"}, lambda number: body


def large():
    line = len(lines("large_metric", 1, 0))
    body = lines("large_metric", LARGE // line, 0)
    return {"targets": 1, "interval": "15s", "series": 1_500_000, "bodies": "192MiB"}, lambda number: body


def churn():
    """20,000 new series a second: a million in less than a minute."""
    return {"targets": 1, "interval": "1s", "series": 500_000, "bodies": "32MiB"}, lambda number: lines("churn_metric", 20_000, number)


LOADS = {"thousand": thousand, "large": large, "churn": churn}
# Samples without which a load was none.
LEAST = {"thousand": 200_000, "large": 700_000, "churn": 200_000}


def peak(pid):
    """The most memory that was ever resident, bytes."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def measure(agent, name, seconds):
    """One load; what it took, the bound, and the agent's own figures at the end."""
    values, body = LOADS[name]()
    with tempfile.TemporaryDirectory() as work:
        exporter = Exporter(body)
        values["targets"] = ", ".join(f"t{i}" for i in range(values["targets"]))
        config = pathlib.Path(work) / "agent.yaml"
        config.write_text(CONFIG.format(port=exporter.server_address[1], work=work, **values))
        log = pathlib.Path(work) / "log"
        with open(log, "wb") as out:
            process = subprocess.Popen([agent, "--config", config], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while not (started := re.search(r'"listen":"([^"]+)".*"memory_bytes_max":(\d+)', log.read_text())):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(f"the agent did not start: {log.read_text()[-2000:]}")
                time.sleep(0.1)
            began = time.monotonic()
            while time.monotonic() - began < seconds and process.poll() is None:
                time.sleep(0.5)
            if process.poll() is not None:
                raise RuntimeError(f"the agent ended: {log.read_text()[-2000:]}")
            text = urllib.request.urlopen(f"http://{started.group(1)}/metrics", timeout=20).read().decode()
            took = peak(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            exporter.shutdown()
            exporter.server_close()
    figure = {key: float(value) for key, value in re.findall(r"^(agent_\S+) (\S+)$", text, re.MULTILINE)}
    return took, int(started.group(2)), figure, exporter.answered


def judge(agent, name, seconds):
    """A line for people, and whether the bound held under a load that was one."""
    took, bound, figure, answered = measure(agent, name, seconds)
    scraped, series = figure["agent_samples_scraped_total"], figure["agent_series"]
    dropped = {key: value for key, value in figure.items() if key.startswith("agent_samples_dropped_total") and value}
    text = (f"memory {name}: {took / 2**20:.0f} MiB at most, bound {bound / 2**20:.0f}; {answered} answers, {scraped:.0f} samples, "
            f"{series:.0f} series at the end, dropped {dropped or 'nothing'}")
    return took <= bound and scraped >= LEAST[name] and not dropped, text


def check(suite):
    """As a scenario of run.py."""
    for name in LOADS:
        held, text = judge(suite.options.agent, name, 120 if suite.long else 25)
        suite.checks.that(f"memory {name}: below the printed bound, and nothing dropped", held, text)
        suite.say(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=pathlib.Path, default="target/release/agent", help="the agent's binary (%(default)s)")
    parser.add_argument("--only", choices=LOADS, help="one load")
    parser.add_argument("--seconds", type=int, default=25, help="of each load (%(default)s)")
    options = parser.parse_args()
    failed = 0
    for name in [options.only] if options.only else LOADS:
        held, text = judge(options.agent.resolve(strict=True), name, options.seconds)
        print(("ok      " if held else "FAILED  ") + text, flush=True)
        failed += not held
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
