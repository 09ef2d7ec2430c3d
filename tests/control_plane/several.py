"""More than one agent: shards that share the targets, one agent on each node, and replicas that take turns by a Lease; and who of
them watches the Kubernetes events.

All with the built-in configuration, only faster, given by the chart's value `config`. The ledger is the same as in production.
"""

import itertools
import json
import re
import time
from collections import Counter
from datetime import datetime

import happenings
import ledger
from cluster import API_ADDRESS
from fleet import MONITORING, WORK
from manifests import VERSION
from processes import http_get, wait_for
from suite import DEPLOY

BUILT_IN = DEPLOY.parent / "agent" / "src" / "config" / "kubernetes.yaml"
# The same jobs, faster. A batch is as old as it may get when it is sealed.
FAST = {"node-exporter": 2, "kube-state-metrics": 2, "dcgm": 2, "cadvisor": 3, "event-exporter": 2}
MAX_AGE = 3
SHARDED = ["mode=statefulset", "sharding.total=3", "ingestion=partitioned"]
# The other takes over within 15 s of the loss.
TAKEOVER = 15
# Where things go on happening while replicas take turns.
SPACE = "turning"


def check(suite):
    """Shards, a DaemonSet, replicas."""
    forget(suite)
    for name, function in (("shards", shards), ("daemonset", daemonset), ("replicas", replicas)):
        suite.checks.section(name, function, suite)
        forget(suite)


def forget(suite):
    """What was answered so far belongs to no ledger."""
    suite.fleet.bury()
    for endpoint in suite.stand_ins.endpoints:
        endpoint.answered.clear()


def chart(suite, values):
    """The chart's objects with a faster built-in configuration; what the pods need is applied."""
    text = BUILT_IN.read_text("utf-8").replace("scrape_interval: 15s", "scrape_interval: 2s")
    text = text.replace("scrape_interval: 30s", "scrape_interval: 2s").replace("scrape_interval: 60s", "scrape_interval: 3s")
    if "leader_election" not in text:
        text += "\nleader_election:\n  enabled: ${LEADER_ELECTION:-false}\n"
    text += f"\nbatch:\n  max_age: {MAX_AGE}s\n"
    file = suite.work / "fast.yaml"
    file.write_text(text, "utf-8")
    words = ["--kube-version", VERSION, "--set-file", f"config={file}"]
    for value in values:
        words += ["--set", value]
    things = suite.helm(*words)
    for thing in things:
        if thing["kind"] in ("Role", "RoleBinding", "ConfigMap"):
            suite.api.apply(thing)
    return things


def listed(pod, **env):
    """`agent targets` in the pod: `(job, instance)` of those it would scrape."""
    code, out, err = pod.command("targets", seconds=60, env=env)
    assert code == 0, err
    return {(one["job"], one["url"].split("/")[2]) for one in json.loads(out) if one["state"] == "active" and one["job"] in FAST}


def shards(suite):
    """Three agents share the targets: each target has one, every sample comes once, growth moves few."""
    checks, fleet = suite.checks, suite.fleet
    things, before = chart(suite, SHARDED), suite.present()
    happenings.make(suite.api, WORK, range(100, 120))
    pods = [suite.pod(things, f"cedana-agent-{index}", node=f"node-{index:03}") for index in range(3)]
    for pod in pods:
        pod.start()
    began = time.time() + 5
    for pod in pods:
        pod.wait_ready(40)
    expected = set(fleet.expected())
    shares = [listed(pod) for pod in pods]
    checks.equal("three shards have every target once", Counter(key for share in shares for key in share), Counter(expected))
    checks.none("no shard is idle or has most of it", [len(s) for s in shares if not len(expected) / 6 < len(s) < len(expected) / 1.8])
    four = [listed(pods[0], SHARDS="4", POD_NAME=f"cedana-agent-{index}") for index in range(4)]
    checks.equal("four shards have every target once", Counter(key for share in four for key in share), Counter(expected))
    moved = sum(len(share - after) for share, after in zip(shares, four, strict=False))
    checks.that("from three shards to four, only what the fourth gets moves", moved == len(four[3]), f"{moved} moved, {len(four[3])} in the fourth")
    suite.say(f"three shards have {[len(s) for s in shares]} targets, four {[len(s) for s in four]}, {moved} moved")
    time.sleep(25)
    ended = time.time()
    for pod in pods:
        checks.equal(f"{pod.name}: SIGTERM ends it with exit code 0", pod.stop()[0], 0)
    delivered = ledger.Delivered(suite.outside.s3, before)
    close(suite, "shards", delivered, began + 10, ended)
    by_writer, watchers = ledger.keys(checks, "shards", delivered, writers=3)
    checks.equal("the writers are w0, w1 and w2", sorted(by_writer), ["w0", "w1", "w2"])
    checks.equal("the first shard alone watches events", sorted(watchers), ["w0"])
    happened(suite, "shards", delivered)
    for pod in pods:
        pod.close()


def close(suite, name, delivered, began, ended):
    """The ledger, the nodes, and nothing that should not be there."""
    strangers = ledger.close(suite.checks, name, delivered, suite.stand_ins, FAST, began, ended)
    real = {("node-exporter", f"{address}:9100") for node, address in suite.fleet.exporters if node in suite.fleet.nodes}
    suite.checks.none(f"{name}: nothing else was scraped", set(strangers) - real)
    ledger.nodes(suite.checks, name, delivered, suite.stand_ins)


def happened(suite, name, delivered):
    """The ledger of the events."""
    happenings.close(suite.checks, name, delivered.happened, happenings.truth(suite.api), happenings.ends(suite.api))


def daemonset(suite):
    """One agent on each node: each has its own node's targets, all together have all. One more watches events and does nothing else."""
    checks, fleet, before = suite.checks, suite.fleet, suite.present()
    happenings.make(suite.api, WORK, range(120, 140))
    things = chart(suite, ["mode=daemonset", "ingestion=partitioned"])
    nodes = sorted(fleet.nodes)
    pods = [suite.pod(things, f"cedana-agent-{name}", "cedana-agent", node=name) for name in nodes[:2]]
    watcher = suite.pod(things, "cedana-agent-events-0", "cedana-agent-events", node=nodes[3])
    for pod in [*pods, watcher]:
        pod.start()
    began = time.time()
    expected = fleet.expected()
    shares = {name: listed(pods[0], SHARD_NODE=name) for name in nodes}
    checks.equal("the agents of all nodes have every target once", Counter(k for s in shares.values() for k in s), Counter(set(expected)))
    checks.none("each has only its own node's", [(name, key) for name, share in shares.items() for key in share if expected[key] != name])
    time.sleep(max(0, began + 15 - time.time()))
    checks.equal("the agent that only watches has no targets", listed(watcher), set())
    checks.none("nobody is warned", [pod.name for pod in [*pods, watcher] if '"message":"configuration"' in pod.log()])
    for pod in [*pods, watcher]:
        checks.equal(f"{pod.name}: SIGTERM ends it with exit code 0", pod.stop()[0], 0)
        pod.close()
    delivered = ledger.Delivered(suite.outside.s3, before)
    mine = [e for e in suite.stand_ins.endpoints if e.answered]
    checks.equal("only the two nodes were scraped", {e.node for e in mine}, set(nodes[:2]))
    lost = [(e.job, e.instance) for e in mine if len([1 for _, up in delivered.up[e.job, e.instance_label] if up == 1]) != len(e.answered)]
    checks.none("daemonset: every answer was delivered", lost)
    checks.that("daemonset: something was", bool(mine))
    # What the third one says of itself and of the events is metrics, too.
    by_writer, watchers = ledger.keys(checks, "daemonset", delivered, writers=3)
    scraping = {writer for rows in delivered.writers.values() for _, writer in rows if writer not in watchers}
    checks.equal("daemonset: the agents of the nodes do not watch events", len(scraping), 2)
    checks.none("daemonset: the one that watches is a writer like the others", set(watchers) - set(by_writer))
    happened(suite, "daemonset", delivered)


class Replicas:
    """Two pods, one of which works."""

    def __init__(self, suite):
        things = chart(suite, ["replicas=2"])
        self.suite = suite
        self.pods = [suite.pod(things, f"cedana-agent-{name}", node=f"node-{index:03}") for index, name in enumerate("xy")]
        # (began, ended) of every trouble: what was scraped then may be missing.
        self.troubles = []

    def leading(self, pod):
        """Whether it says that it holds the Lease."""
        status, text = http_get(f"http://{pod.address}:{pod.port}/metrics", 1)
        found = re.search(r"^agent_leader(?:\{[^}]*\})? (\d)", text, re.M)
        return status == 200 and bool(found) and found.group(1) == "1"

    def holder(self, seconds=20):
        """The one that works, and the other."""

        def one():
            leading = [pod for pod in self.pods if self.leading(pod)]
            return leading if len(leading) == 1 else None

        found = wait_for("one of the two to hold the Lease", one, seconds)[0]
        return found, next(pod for pod in self.pods if pod is not found)

    def lose(self, name, trouble, recover):
        """Troubles the holder: the other takes over in time; then the trouble ends, and both are well."""
        checks = self.suite.checks
        holder, other = self.holder()
        time.sleep(8)
        began = time.time()
        trouble(holder)
        wait_for(f"{name}: the other to take over", lambda: self.leading(other), TAKEOVER + 15, 0.1)
        took = time.time() - began
        checks.that(f"{name}: the other takes over within {TAKEOVER} s", took <= TAKEOVER, f"{took:.1f} s")
        self.suite.say(f"{name}: taken over after {took:.1f} s")
        time.sleep(6)
        recover(holder)
        wait_for(f"{name}: the former holder to stand by", lambda: holder.ready()[0] == 200 and not self.leading(holder), 40, 0.2)
        # Until it knows better, the former holder scrapes what the other has scraped too: dropped, and counted as taken_over.
        self.troubles.append((began - MAX_AGE - 3, time.time() + 3))
        checks.that(f"{name}: the former holder stands by", self.leading(other))
        time.sleep(20)


def replicas(suite):
    """kill -9, SIGSTOP, a cut from the API server, a clean stop: the ledger closes, no interval twice, no key below another."""
    checks, before = suite.checks, suite.present()
    suite.cluster.namespace(SPACE)
    maker = happenings.Maker(suite.api, SPACE, 5, 1000)
    suite.closing.append(maker.stop)
    maker.start()
    world = Replicas(suite)
    for pod in world.pods:
        pod.start()
    world.holder()
    for pod in world.pods:
        pod.wait_ready(30)
    checks.that("both replicas are ready", all(pod.ready()[0] == 200 for pod in world.pods))
    began = time.time()
    world.lose("kill -9", lambda pod: pod.process.kill(), lambda pod: pod.start())
    world.lose("SIGSTOP", lambda pod: pod.process.send(19), lambda pod: pod.process.send(18))
    world.lose("cut off from the API server", lambda pod: pod.cut(API_ADDRESS), lambda pod: pod.join(API_ADDRESS))
    holder, other = world.holder()
    since = time.time()
    checks.equal("a clean stop of the holder: exit code 0", holder.stop()[0], 0)
    stopped = time.time()
    wait_for("the other to take over", lambda: world.leading(other), TAKEOVER, 0.05)
    suite.say(f"after a clean stop the other took over at once ({time.time() - stopped:.1f} s after the end)")
    checks.that("after a clean stop the Lease is free at once", time.time() - stopped < 4, f"{time.time() - stopped:.1f} s")
    world.troubles.append((since - 1, time.time() + 3))
    maker.stop()
    checks.equal("replicas: the API server took every event", maker.failure, None)
    time.sleep(8)
    metrics = other.page("/metrics")[1]
    ended = time.time()
    checks.equal("the last one ends with exit code 0", other.stop()[0], 0)
    delivered = ledger.Delivered(suite.outside.s3, before)
    handovers(suite, world, delivered, began, ended)
    checks.none("replicas: every key is of metrics or of events", delivered.strange)
    for name, keys in (("metrics", ledger.of_metrics), ("events", ledger.of_events)):
        pointer(suite, name, before, keys)
    watchers = Counter(writer for writer, _ in delivered.happened)
    checks.equal("replicas: both have watched events", len(watchers), 2)
    suite.say(f"rows of events by writer: {dict(watchers)}, of {len(happenings.truth(suite.api))} events")
    happened(suite, "replicas", delivered)
    dropped = re.search(r'^agent_spool_dropped_samples_total\{reason="taken_over"\} (\d+)', metrics, re.M)
    checks.that("what is dropped because another took over is counted", bool(dropped))
    suite.say(f"samples dropped because another had taken over: {dropped and dropped.group(1)}, as the last agent counts")
    lease = suite.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{MONITORING}/leases/cedana-agent")
    checks.equal("the Lease is released", lease["spec"].get("holderIdentity") or "", "")


def said(pods, words):
    """When the agents logged these words."""
    lines = [json.loads(line) for pod in pods for line in pod.log().splitlines() if line.startswith("{")]
    return [datetime.fromisoformat(one["timestamp"]).timestamp() for one in lines if one["message"] == words]


def handovers(suite, world, delivered, began, ended):
    """Outside the troubles every answer is delivered; inside, none twice; no endpoint waits longer than a takeover takes."""
    checks = suite.checks
    lost, twice, gaps, mixed, count, superseded = [], [], [], [], 0, 0
    # A scrape under way at that moment comes after the other has taken over: it is dropped and counted.
    moments = said(world.pods, "handing the lease over")
    began_to_hold = said(world.pods, "holding the lease: scraping and uploading")
    turns = len(began_to_hold)
    for endpoint in suite.stand_ins.endpoints:
        times = sorted(t / 1000 for t, up in delivered.up[endpoint.job, endpoint.instance_label] if up == 1)
        interval = FAST[endpoint.job]
        count += len(times)
        rows = sorted(delivered.writers[endpoint.job, endpoint.instance_label])
        # A stand-in counts its own scrapes, so that no two answers carry one number.
        numbers = Counter(number for _, number in delivered.probes[endpoint.job, endpoint.instance_label])
        twice += [(endpoint.instance, number) for number, times_seen in numbers.items() if times_seen > 1]
        changes = sum(one != other for (_, one), (_, other) in itertools.pairwise(rows))
        mixed += [(endpoint.instance, changes)] if changes > turns else []
        calm = [t for t in endpoint.answered if t < ended and not any(a <= t <= b for a, b in world.troubles)]
        steady = [t for t in calm if not any(-1 <= t - moment <= 4 for moment in moments)]
        superseded += len(calm) - len(steady)
        lost += [(endpoint.instance, round(t - began, 2), endpoint.askers[t]) for t in steady if not any(t - 2 < row <= t + 0.05 for row in times)]
        inside = [began, *[t for t in times if began <= t <= ended], ended]
        gaps += [(endpoint.instance, round(a - began, 1), round(b - a, 1)) for a, b in itertools.pairwise(inside)
                 if b - a > TAKEOVER + interval + MAX_AGE + 3]
    checks.that("replicas: something was delivered", count > 0)
    suite.say(f"{len(moments)} handovers for what was left to upload, {superseded} scrapes were answered around them")
    suite.say(f"troubles: {[(round(a - began, 1), round(b - began, 1)) for a, b in world.troubles]}; the pods are "
              f"{[(pod.name, pod.address) for pod in world.pods]}")
    checks.none("replicas: outside the troubles every answer was delivered", lost)
    checks.none("replicas: no answer was delivered twice", twice)
    checks.none(f"replicas: {turns} turns, and never two agents' samples of the same time", mixed)
    checks.none("replicas: no gap is longer than a takeover", gaps)


def pointer(suite, name, before, keys):
    """S3Queue with one pointer: each key that becomes visible lies above all before it. Nothing was in flight beside another."""
    puts = [put for put in suite.outside.s3.puts if put.status == 200 and keys([put.key]) and put.key not in before]
    puts.sort(key=lambda put: put.ended)
    suite.checks.that(f"replicas: {name}: something was put", bool(puts))
    largest, hidden = "", []
    for put in puts:
        if put.key <= largest:
            hidden.append((put.key, largest))
        largest = max(largest, put.key)
    suite.checks.none(f"replicas: {name}: one pointer sees every key", hidden)
    overlap = [(a.key, b.key) for a, b in itertools.pairwise(puts) if b.began < a.ended - 0.001]
    suite.checks.none(f"replicas: {name}: never were two uploads in flight", overlap)
