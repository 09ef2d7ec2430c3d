"""Kubernetes events of a real API server: thousands, repeated, while the agent is killed and the API server goes away.

The agent runs beside the cluster with a kubeconfig, and delivers into a directory. In the end the ledger closes by uid and count:
every count that the API server ended with is a row, no pair of uid and count came twice, and the last values of the counters
are the sums of the counts. Runs alone: `--only events --nodes 2 --gpu-nodes 1 --real-exporters 0 --pods 5`.
"""

import concurrent.futures
import datetime
import json
import random
import signal
import time

import pyarrow.parquet as pq
from cluster import API_ADDRESS, API_PORT
from processes import Process, wait_for

SPACE = "happenings"
EVENTS = 3000
CORE, NEW = f"/api/v1/namespaces/{SPACE}/events", f"/apis/events.k8s.io/v1/namespaces/{SPACE}/events"
REASONS = ("Killing", "Preempted", "Evicted", "OOMKilling", "BackoffLimitExceeded", "DeadlineExceeded", "BackOff", "Pulled")


class Agent:
    """An agent that watches events only; its spool and what it delivered outlive each process."""

    def __init__(self, suite):
        self.folder = suite.work / "events"
        self.folder.mkdir()
        self.program = suite.options.agent
        self.process, self.lives = None, 0
        cluster = {"server": f"https://{API_ADDRESS}:{API_PORT}", "certificate-authority": str(suite.cluster.ca.cert)}
        kubeconfig = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": suite.cluster.admin_token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        (self.folder / "kubeconfig").write_text(json.dumps(kubeconfig), "utf-8")
        (self.folder / "agent.yaml").write_text(
            "global: {scrape_interval: 1s, external_labels: {cluster_id: real}}\n"
            "kubernetes_events: {enabled: true, kubeconfig_file: kubeconfig, max_object_age: 1s, max_object_rows: 500,\n"
            f"  namespaces: {{names: [{SPACE}]}}}}\n"
            f"spool: {{dir: {self.folder}/spool}}\nsink: {{file: {{dir: {self.folder}/objects}}}}\n"
            "batch: {max_age: 1s}\ninternal_metrics: false\nserver: {listen: '127.0.0.1:0'}\n", "utf-8")

    def start(self):
        """Begins another life."""
        self.lives += 1
        command = [self.program, "--config", self.folder / "agent.yaml"]
        self.process = Process(f"events-{self.lives}", command, self.folder, {"PATH": "/usr/bin:/bin"})

    def log(self):
        """What this life printed."""
        return self.process.output.read_text("utf-8", "replace")

    def rows(self):
        """All rows delivered, as dictionaries."""
        files = sorted((self.folder / "objects" / "0-events").glob("*/*.parquet"))
        return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]

    def counters(self):
        """`{labels: value}`: the last value of every counter."""
        last = {}
        for file in sorted((self.folder / "objects").glob("[1-9]*/*.parquet")):
            for row in pq.ParquetFile(file).read().to_pylist():
                if row["metric"] == "kube_events_total":
                    labels = tuple(sorted(dict(row["labels"]).items())) + (row["namespace"],)
                    if labels not in last or row["timestamp"] >= last[labels][0]:
                        last[labels] = (row["timestamp"], row["value"])
        return {labels: value for labels, (_, value) in last.items()}


def now():
    """As Kubernetes writes a time with microseconds."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def create(api, number):
    """An event of either generation."""
    name, reason = f"e-{number}", REASONS[number % len(REASONS)]
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": SPACE, "name": f"web-{number % 20}", "uid": f"u-{number % 20}"}
    meta = {"name": name, "namespace": SPACE}
    if number % 2:
        api.call("POST", CORE, {
            "apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": about, "reason": reason, "type": "Warning",
            "message": "said", "source": {"component": "kubelet", "host": "node-000"}, "count": 1,
            "firstTimestamp": now()[:19] + "Z", "lastTimestamp": now()[:19] + "Z"})
    else:
        api.call("POST", NEW, {
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": meta, "regarding": about, "reason": reason,
            "type": "Normal", "note": "said", "action": "Acting", "eventTime": now(), "reportingController": "suite",
            "reportingInstance": "suite-0"})


def repeat(api, number, count):
    """The same happens again."""
    if number % 2:
        patch, path = {"count": count, "lastTimestamp": now()[:19] + "Z"}, CORE
    else:
        patch, path = {"series": {"count": count, "lastObservedTime": now()}}, NEW
    api.call("PATCH", f"{path}/e-{number}", patch, "application/merge-patch+json")


def make(suite, numbers):
    """Creates events from several clients at once, and repeats every third."""
    def one(number):
        create(suite.api, number)
        if number % 3 == 0:
            for count in range(2, 2 + number % 5):
                repeat(suite.api, number, count)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, numbers))


def check(suite):
    """Runs the scenario and judges it."""
    checks, agent = suite.checks, Agent(suite)
    suite.cluster.namespace(SPACE)
    suite.closing.append(lambda: agent.process and agent.process.stop())
    third = EVENTS // 3
    # What was there before the agent, and what comes while it lists.
    make(suite, range(0, third, 2))
    agent.start()
    make(suite, range(1, third, 2))
    wait_for("the first rows", lambda: agent.rows(), 60, 0.5)
    dice = random.Random(7)
    for life in range(4):
        part = range(third + life * third // 4, third + (life + 1) * third // 4)
        make(suite, part[: len(part) // 2])
        time.sleep(dice.uniform(0.1, 1.5))
        agent.process.kill()
        make(suite, part[len(part) // 2 :])
        agent.start()
    suite.cluster.stop_server()
    wait_for("the log to say that the API server is away", lambda: "does not answer" in agent.log(), 60)
    suite.cluster.start_server()
    make(suite, range(2 * third, 3 * third))
    listed = lambda: suite.api.get(NEW)["items"]
    truth = {item["metadata"]["uid"]: max(1, (item.get("series") or {}).get("count", item.get("deprecatedCount", 1)))
             for item in listed()}
    checks.equal("events: the API server has all of them", len(truth), EVENTS)
    found = lambda: {(row["uid"], row["count"]) for row in agent.rows()}
    wait_for("every event's last count", lambda: set(truth.items()) <= found(), 60, 1)
    wait_for("the counters to have them all", lambda: sum(agent.counters().values()) >= sum(truth.values()), 30, 1)
    began = time.monotonic()
    code = agent.process.signal_and_wait(signal.SIGTERM, 30)
    checks.equal("events: SIGTERM ends the agent with exit code 0", code, 0)
    rows = agent.rows()
    pairs = [(row["uid"], row["count"]) for row in rows]
    suite.say(f"{len(rows)} rows of {len(truth)} events, {agent.lives} lives, ended in {time.monotonic() - began:.1f} s")
    checks.none("events: every last count is a row", set(truth.items()) - set(pairs))
    checks.equal("events: no pair of uid and count came twice", len(pairs), len(set(pairs)))
    checks.none("events: nothing was made up", {uid for uid, _ in pairs} - set(truth))
    checks.equal("events: the counters' last values are the sums", sum(agent.counters().values()), sum(truth.values()))
    by_reason = {}
    for item in listed():
        by_reason[item["reason"]] = by_reason.get(item["reason"], 0) + truth[item["metadata"]["uid"]]
    counted = {}
    for labels, value in agent.counters().items():
        reason = dict(pair for pair in labels if isinstance(pair, tuple))["reason"]
        counted[reason] = counted.get(reason, 0) + int(value)
    checks.equal("events: by reason, too", counted, by_reason)
    checks.equal("events: a row says who and where", {(r["kind"], r["namespace"], r["cluster_id"]) for r in rows},
                 {("Pod", SPACE, "real")})
