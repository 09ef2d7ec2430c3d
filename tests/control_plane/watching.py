"""Agents that only watch Kubernetes events, beside the cluster: with a kubeconfig, and into a directory."""

import json
import pathlib
import socket
import threading
from datetime import datetime

import pyarrow.parquet as pq

from cluster import API_ADDRESS, API_PORT
from pod import run
from processes import Process

# The address that pods know the API server by; its certificate has it.
SERVICE_ADDRESS = "10.91.0.1"


class Agent:
    """One of them; its spool outlives each process. Several may deliver into one directory."""

    def __init__(self, suite, space, name="a", **more):
        """`more`: server (its address), election (a Lease's namespace), log (a level)."""
        self.name = name
        self.home = suite.work / f"watching-{space}"
        self.folder = self.home / name
        self.folder.mkdir(parents=True)
        self.program, self.log_level = suite.options.agent, more.get("log", "info")
        self.process, self.lives = None, 0
        suite.closing.append(lambda: self.process and self.process.stop())
        server = f"https://{more.get('server', API_ADDRESS)}:{API_PORT}"
        cluster = {"server": server, "certificate-authority": str(suite.cluster.ca.cert)}
        kubeconfig = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": suite.cluster.admin_token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        (self.folder / "kubeconfig").write_text(json.dumps(kubeconfig), "utf-8")
        election = more.get("election")
        taking_turns = f"leader_election: {{enabled: true, kubeconfig_file: kubeconfig, lease_namespace: {election}}}\n" if election else ""
        (self.folder / "agent.yaml").write_text(
            "global: {scrape_interval: 1s, external_labels: {cluster_id: real}}\n"
            "kubernetes_events: {enabled: true, only: true, kubeconfig_file: kubeconfig, max_object_age: 1s, max_object_rows: 500,\n"
            f"  namespaces: {{names: [{space}]}}}}\n{taking_turns}"
            f"spool: {{dir: {self.folder}/spool}}\nsink: {{file: {{dir: {self.home}/objects}}}}\n"
            "batch: {max_age: 1s}\ninternal_metrics: false\nserver: {listen: '127.0.0.1:0'}\n", "utf-8")

    def start(self):
        """Begins another life."""
        self.lives += 1
        command = [self.program, "--config", self.folder / "agent.yaml"]
        env = {"PATH": "/usr/bin:/bin", "POD_NAME": self.name, "AGENT_LOG": self.log_level}
        self.process = Process(f"life-{self.lives}", command, self.folder, env)

    def log(self):
        """What this life printed."""
        return self.process.output.read_text("utf-8", "replace")

    def said(self, words):
        """When any life logged these words, and the whole lines."""
        lines = []
        for life in range(1, self.lives + 1):
            for line in (self.folder / f"life-{life}.log").read_text("utf-8", "replace").splitlines():
                if line.startswith("{") and json.loads(line)["message"] == words:
                    lines.append(json.loads(line))
        return [(datetime.fromisoformat(line["timestamp"]).timestamp(), line) for line in lines]


def rows(home):
    """`(key, writer, row)` of all rows of events delivered into the directory of some agents."""
    found = []
    for file in sorted((pathlib.Path(home) / "objects" / "0-events").glob("*/*.parquet")):
        writer = file.name.split("-")[0]
        found += [(f"{file.parent.name}/{file.name}", writer, row) for row in pq.ParquetFile(file).read().to_pylist()]
    return found


def counters(home):
    """`{labels: value}`: the last value of every counter."""
    last = {}
    for file in sorted((pathlib.Path(home) / "objects").glob("[1-9]*/*.parquet")):
        for row in pq.ParquetFile(file).read().to_pylist():
            if row["metric"] == "kube_events_total":
                labels = (*sorted(dict(row["labels"]).items()), ("namespace", row["namespace"]), ("instance", row["instance"]))
                if labels not in last or row["timestamp"] >= last[labels][0]:
                    last[labels] = (row["timestamp"], row["value"])
    return {labels: value for labels, (_, value) in last.items()}


class Road:
    """The API server under its service's address: a road that can be cut and joined again."""

    def __init__(self):
        run("ip", "addr", "add", f"{SERVICE_ADDRESS}/32", "dev", "lo")
        self._listener, self._sockets, self._lock = None, [], threading.Lock()
        self.join()

    def join(self):
        """Lets everybody through from now on."""
        self._listener = socket.create_server((SERVICE_ADDRESS, API_PORT))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self):
        """Ends all connections; new ones are refused."""
        # Whoever waits in accept() is woken by this, and by nothing else.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # its other end was faster

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection((API_ADDRESS, API_PORT), 5)
            except OSError:
                return
            far.settimeout(None)
            with self._lock:
                self._sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()

    def close(self):
        """Ends it."""
        self.cut()
        run("ip", "addr", "del", f"{SERVICE_ADDRESS}/32", "dev", "lo")


def _pump(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # cut
