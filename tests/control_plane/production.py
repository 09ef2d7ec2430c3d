"""The built-in configuration in a living cluster: everything found, everything once, every label right."""

import json
import time

import happenings
import ledger
from fleet import WORK, node_name
from processes import wait_for
from suite import INTERVALS

# What was shipped before, by job (CONTRACT: names kept), and must not be lost.
SURVIVE = {
    "kube-state-metrics": {"kube_pod_info", "kube_pod_owner"},
    "dcgm": {"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"},
    "cadvisor": {"container_cpu_usage_seconds_total", "container_memory_working_set_bytes"},
    "event-exporter": {"events_sent", "events_discarded", "watch_errors", "build_info"},
    "node-exporter": {"node_load1", "node_cpu_seconds_total", "node_uname_info"},
}


def check(suite):
    """One pod of the shipped Deployment, while nodes and pods come and go."""
    checks, fleet = suite.checks, suite.fleet
    before = suite.present()
    happenings.make(suite.api, WORK, range(20))
    pod = suite.pod(suite.base, "cedana-agent-0")
    pod.start()
    began = time.time()
    first = wait_for("the first object", lambda: [k for k in ledger.of_metrics(suite.present()) if k not in before], 40, 0.1)
    took = time.time() - began
    checks.that("the first object is in S3 within 20 s of the start", took <= 20, f"{took:.1f} s, {first}")
    suite.say(f"first object after {took:.1f} s")
    pod.wait_ready(30)
    wait_for("every target to be found", lambda: found(pod) >= set(fleet.expected()), 30, 0.1)
    checks.equal("the targets are those that must be", found(pod), set(fleet.expected()))
    checks.section("churn", churn, suite, pod, began)
    left = began + suite.options.seconds - time.time()
    time.sleep(max(0, left))
    checks.none("every target answers", troubled(pod))
    _, metrics = pod.page("/metrics")
    code, seconds = pod.stop()
    ended = time.time() - seconds
    checks.equal("SIGTERM ends the agent with exit code 0", code, 0)
    checks.that("it ends within the grace period", seconds < pod.spec["terminationGracePeriodSeconds"], f"{seconds:.1f} s")
    checks.none("it wrote nothing outside its volumes", pod.written())
    suite.say(f"peak RSS {pod.process.rss_peak_kib / 1024:.1f} MiB, {pod.process.cpu_seconds:.2f} CPU seconds"
              f", {len(fleet.expected())} targets")
    delivered = ledger.Delivered(suite.outside.s3, before)
    suite.say(f"{delivered.rows} rows in {len(delivered.objects)} objects")
    # The first two intervals are the agent's to settle in; every answer is compared all the same.
    strangers = ledger.close(checks, "production", delivered, suite.stand_ins, INTERVALS, began + 20, ended)
    real = {("node-exporter", f"{address}:9100") for _, address in fleet.exporters}
    checks.equal("the rest was scraped from the real node-exporters", set(strangers), real)
    ledger.nodes(checks, "production", delivered, suite.stand_ins)
    ledger.keys(checks, "production", delivered)
    events(suite, delivered)
    for job, names in SURVIVE.items():
        checks.none(f"{job}: what was shipped is shipped", names - delivered.metrics[job])
    checks.none("dcgm: nothing of another family", [m for m in delivered.metrics["dcgm"] if m.startswith("DCGM_EXPORTER")])
    checks.that("the agent counted what it delivered", "agent_objects_uploaded_total" in metrics)
    pod.close()
    for endpoint in suite.stand_ins.endpoints:
        endpoint.answered.clear()


def churn(suite, pod, began):
    """Nodes and pods come, change and go; each change reaches the targets at once."""
    checks, fleet, options = suite.checks, suite.fleet, suite.options
    delays = {}

    def measure(name, change, done):
        change()
        since = time.monotonic()
        wait_for(name, done, 15, 0.05)
        delays[name] = time.monotonic() - since

    new = options.nodes
    measure("a new node", lambda: fleet.add_node(new), lambda: found(pod) == set(fleet.expected()))
    for endpoint in fleet.parts[node_name(new)]:
        endpoint.born = time.time()
    measure("a node removed", lambda: fleet.remove_node(options.nodes - 1), lambda: found(pod) == set(fleet.expected()))
    measure("a pod replaced on another node", lambda: fleet.move("event-exporter", node_name(5)),
            lambda: found(pod) == set(fleet.expected()))
    suite.stand_ins.endpoints[-1].born = time.time()
    for index in range(0, options.pods, 10):
        fleet.remove_pod(index)
        fleet.add_pod(index + 100_000)
    happenings.make(suite.api, WORK, range(20, 60))
    for index in (1, 3):
        happenings.end_container(suite.api, fleet.pods[index])
    for name, seconds in delays.items():
        suite.say(f"{name}: in the target set after {seconds:.2f} s")
        # One second is what a change may take; the page that tells, polled on a busy machine, is given another.
        checks.that(f"{name} reaches the targets within two seconds", seconds <= 2, f"{seconds:.2f} s")


def events(suite, delivered):
    """What happened, before the agent came and while it was there: rows and counters."""
    checks, expected = suite.checks, happenings.truth(suite.api)
    happenings.close(checks, "production", delivered.happened, expected, happenings.ends(suite.api))
    suite.say(f"{len(delivered.happened)} rows of {len(expected)} events in {len(delivered.listing_of_events)} objects")
    owners = {(row["owner_kind"], row["owner"]) for _, row in delivered.happened if row["source"] == "pod"}
    checks.equal("production: the ends of containers say whose they are", owners, {("ReplicaSet", "web-1"), ("ReplicaSet", "web-3")})
    checks.equal("production: the counters' last values are the sums", sum(delivered.counted.values()), sum(expected.values()))


def targets(pod):
    """`/targets`, the active ones of the built-in jobs."""
    status, text = pod.page("/targets")
    if status != 200:
        return []
    return [one for one in json.loads(text) if one["state"] == "active" and one["job"] in INTERVALS]


def found(pod):
    """`(job, instance)` of all active targets."""
    return {(one["job"], one["url"].split("/")[2]) for one in targets(pod)}


def troubled(pod):
    """Active targets whose last scrape failed."""
    return [(one["job"], one["url"], one["last_scrape"]) for one in targets(pod)
            if one["last_scrape"] and one["last_scrape"]["health"] != "up"]
