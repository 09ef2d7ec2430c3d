"""What 5,000 pods cost: resident memory before and after, and how long a change takes among so many."""

import concurrent.futures
import json
import pathlib
import re
import time

import yaml

import objects
from processes import http_get, wait_for

SPACE = "many"
# Each pod's ports, each of which is a target: what is measured is many times as many targets as pods.
PORTS = 4

CONFIG = {
    "scrape_configs": [{
        "job_name": "pods",
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [SPACE]}}],
        # Nothing is scraped: what is measured is what discovery holds.
        "relabel_configs": [{"source_labels": ["__meta_kubernetes_pod_label_scrape"], "regex": "yes", "action": "keep"}],
    }],
    "internal_metrics": False,
    "server": {"listen": "0.0.0.0:9598"},
    "sink": {"file": {"dir": "/var/lib/agent/objects"}},
    "spool": {"dir": "/var/lib/agent/spool"},
}


def check(suite):
    """A bench: figures are printed, and only their bounds are checked."""
    checks, api, many = suite.checks, suite.api, suite.options.many_pods
    suite.cluster.namespace(SPACE)
    pod = suite.pod(suite.base, "scale", env={"AGENT_CONFIG": "/var/lib/agent/agent.yaml"})
    pod.prepare()
    (pod.root / "var/lib/agent/agent.yaml").write_text(yaml.safe_dump(CONFIG), "ascii")
    pod.start()
    time.sleep(2)
    before = resident(pod)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda index: api.create(pod_of(index)), range(many)))
    suite.say(f"{many} pods created in {time.monotonic() - began:.1f} s")
    wait_for("all pods to be known", lambda: count(pod) == many * PORTS, 60, 0.2)
    time.sleep(3)
    watched = resident(pod)
    pod.stop()
    # Once more from the start, when the list comes at once.
    pod.start()
    wait_for("all pods to be known", lambda: count(pod) == many * PORTS, 60, 0.1)
    listed_in = time.time() - pod.began
    time.sleep(3)
    listed = resident(pod)
    suite.say(f"RSS {before:.1f} MiB empty, {watched:.1f} MiB after {many} pods came one by one, {listed:.1f} MiB after listing them")
    suite.say(f"{listed_in:.1f} s from the start to {many} pods")
    checks.that(f"{many} pods cost less than 50 MiB", max(watched, listed) - before < 50, f"{before:.1f} -> {watched:.1f}, {listed:.1f} MiB")
    cpu = pod.process.cpu_seconds
    delays = []
    for index in range(5):
        since = time.monotonic()
        api.patch(pod_of(index * 7), {"metadata": {"labels": {"scrape": "yes"}}})
        wait_for("the change", lambda index=index: count(pod, "active") == (index + 1) * PORTS, 10, 0.02)
        delays.append(time.monotonic() - since)
    suite.say(f"a change among {many} pods is in the target set after {', '.join(f'{d:.2f}' for d in delays)} s")
    checks.that("a change reaches the target set within a second, in the median", sorted(delays)[2] <= 1, delays)
    resident(pod)
    suite.say(f"{(pod.process.cpu_seconds - cpu) / 5 * 1000:.0f} ms of CPU per change (/metrics asked for meanwhile)")
    pod.stop()
    namespace = f"/api/v1/namespaces/{SPACE}/pods"
    api.call("DELETE", namespace, {"gracePeriodSeconds": 0})


def pod_of(index):
    """One of many, with as much in it as real ones have."""
    environment = [{"name": f"VARIABLE_{n}", "value": "x" * 40} for n in range(12)]
    containers = [
        {"name": name, "image": f"registry.example.com/team/{name}:2026.11.22", "env": environment,
         "ports": [{"name": "http", "containerPort": 8080 + n}, {"name": "metrics", "containerPort": 9090 + n}]}
        for n, name in enumerate(("main", "sidecar"))
    ]
    made = objects.pod(
        SPACE, f"web-7d9c5b8f4-{index:05}", f"node-{index % 10:03}", f"10.95.{index // 250}.{index % 250 + 1}", "10.90.10.1",
        owner=("ReplicaSet", f"web-{index % 50}"), containers=containers,
        labels={"app.kubernetes.io/name": f"web-{index % 50}", "pod-template-hash": "7d9c5b8f4", "team": "a-team", "tier": "front"},
        annotations={"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "checksum/config": "0123456789abcdef" * 4,
                     "kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": "x" * 1500})},
    )
    return made


def count(pod, state=None):
    """Targets that the agent's own metrics tell of."""
    _, text = http_get(f"http://{pod.address}:{pod.port}/metrics")
    lines = re.findall(r'^agent_targets\{job="pods",state="(\w+)"\} (\d+)', text, re.M)
    return sum(int(number) for found, number in lines if state in (None, found))


def resident(pod):
    """MiB of resident memory now."""
    pod.process.running()
    text = pathlib.Path(f"/proc/{pod.process.pid}/status").read_text("ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024
