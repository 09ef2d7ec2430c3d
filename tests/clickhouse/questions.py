"""The questions of deploy/clickhouse/questions, asked of a cluster whose truth is known: two nodes, three GPUs, an hour."""

import math
import pathlib
import random
import time

from deployed import FOLDER, Deployed

# A sample every half minute, for an hour.
STEP, COUNT = 30, 120
GIB = 1 << 30
GPUS = (
    # node, GPU, pod, utilisation, watts
    ("node-a", 0, "train-0", 80, 300),
    ("node-a", 1, "notebook-0", 1, 100),
    ("node-b", 0, "train-1", 40, 200),
)
OWNERS = {"train-0": ("Job", "train"), "train-1": ("Job", "train"), "notebook-0": ("StatefulSet", "notebook")}
CORES = {"train-0": 2.0, "train-1": 1.0, "notebook-0": 0.5}


def check(suite):
    """Fills the tables, asks every question, and compares its answer with the truth."""
    tables = Deployed(suite, "asked", "questions")
    tables.run("tables.sql")
    ask(suite.checks, "questions", tables)
    tables.run("remove.sql")


def ask(checks, who, tables):
    """All of that, of tables that are there."""
    # Within the time that rows are kept, and not cut by a change of the day.
    began = int(time.time()) // 86400 * 86400 - 43200
    rows = list(cluster(began))
    # Samples do not come in order: nothing may depend on it.
    random.Random(7).shuffle(rows)
    fields = "timestamp, metric, type, cluster_id, job, instance, namespace, pod, container, node, labels, value, object"
    for start in range(0, len(rows), 2000):
        values = ", ".join(written(*row) for row in rows[start : start + 2000])
        tables.query(f"INSERT INTO landing ({fields}) VALUES {values}")
    tables.query(f"SET param_from = '{moment(began)}'")
    tables.query(f"SET param_to = '{moment(began + STEP * COUNT)}'")
    tables.query("SET param_job = 'train'")
    expected = truth(began)
    # Of other tables: `events` asks it.
    files = sorted(path.stem for path in (FOLDER / "questions").glob("*.sql") if path.stem != "terminations")
    checks.equal(f"{who}: each has a truth", files, sorted(expected))
    for name in files:
        checks.none(f"{who}: {name}", differences(tables.run(pathlib.Path("questions", f"{name}.sql"))[0], expected[name]))


def cluster(began):
    """`(metric, type, labels, second, value)` of all samples; labels that have a column stand under its name."""
    for index in range(COUNT):
        second, late = began + STEP * index, index >= COUNT // 2
        for node, gpu, pod, busy, watts in GPUS:
            labels = {"job": "dcgm", "instance": f"{node}:9400", "node": node, "namespace": "ml", "pod": pod, "container": "main",
                      "gpu": str(gpu), "UUID": f"GPU-{node}-{gpu}"}
            gauges = {"GPU_UTIL": busy, "FB_USED": 1000 * (gpu + 1), "FB_FREE": 80000 - 1000 * (gpu + 1),
                      "GPU_TEMP": 40 + gpu + index % 7, "POWER_USAGE": watts}
            for name, value in gauges.items():
                yield f"DCGM_FI_DEV_{name}", "gauge", labels, second, value
            # Node b's exporter begins to count again.
            steps = index - COUNT // 2 if node == "node-b" and late else index
            yield "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", labels, second, steps * watts * STEP * 1000
            kubelet = {"job": "cadvisor", "instance": node, "node": node, "namespace": "ml", "pod": pod}
            for container in ("main", ""):
                inner = kubelet | {"container": container, "id": f"/{pod}/{container}"}
                yield "container_cpu_usage_seconds_total", "counter", inner, second, 7 + index * STEP * CORES[pod]
                yield "container_memory_working_set_bytes", "gauge", inner, second, (1 if container else 2) * GIB
            kind, owner = OWNERS[pod]
            state = {"job": "kube-state-metrics", "instance": "ksm:8080", "namespace": "ml", "pod": pod, "owner_kind": kind,
                     "owner_name": owner}
            yield "kube_pod_owner", "gauge", state, second, 1
        for node in ("node-a", "node-b"):
            exporter = {"job": "node-exporter", "instance": f"{node}:9100", "node": node}
            fills = exporter | {"mountpoint": "/", "device": "/dev/sda1"}
            yield "node_filesystem_avail_bytes", "gauge", fills, second, 1e11 + (-1 if node == "node-a" else 1) * 1e7 * index
            for device, rate in (("eth0", 1000), ("lo", 77)):
                # Node a starts again: what it counts then is what came since.
                steps = index - COUNT // 2 + 1 if node == "node-a" and late else index
                yield "node_network_receive_bytes_total", "counter", exporter | {"device": device}, second, steps * STEP * rate
            yield "up", "gauge", exporter, second, 0 if node == "node-b" and index % 10 == 9 else 1
            yield "scrape_samples_scraped", "gauge", exporter, second, 1311
            yield "scrape_duration_seconds", "gauge", exporter, second, 0.25


def truth(began):
    """`{question: rows}`."""
    def node(name):
        gpus = [gpu for gpu in GPUS if gpu[0] == name]
        return {
            "node": name, "gpus": len(gpus), "utilisation": sum(gpu[3] for gpu in gpus) / len(gpus),
            "memory_used": sum(1000 * (gpu[1] + 1) for gpu in gpus), "memory_total": 80000 * len(gpus),
            "temperature": max(46 + gpu[1] for gpu in gpus), "power": sum(gpu[4] for gpu in gpus),
            # At the new beginning one step shows nothing.
            "energy": sum(gpu[4] for gpu in gpus) * STEP * 1000 * (COUNT - 1 - (name == "node-b")) / 3.6e9,
        }

    def owner(kind, name):
        gpus = [gpu for gpu in GPUS if OWNERS[gpu[2]] == (kind, name)]
        used = sum(gpu[3] / 100 for gpu in gpus)
        return {"namespace": "ml", "owner_kind": kind, "owner": name, "pods": len(gpus), "gpus": len(gpus),
                "hours_held": len(gpus), "hours_used": used, "efficiency": used / len(gpus)}

    def load(kind, name):
        pods = [pod for pod, of in OWNERS.items() if of == (kind, name)]
        return {"namespace": "ml", "owner_kind": kind, "owner": name, "pods": len(pods),
                "cores": sum(CORES[pod] for pod in pods) * (COUNT - 1) / COUNT, "memory": GIB * len(pods)}

    left = 1e11 - 1e7 * (COUNT - 1)
    hourly = -1e7 * 3600 / STEP
    last = began + STEP * (COUNT - 1)
    return {
        "gpu_by_node": [node("node-a"), node("node-b")],
        "gpu_by_owner": [owner("Job", "train"), owner("StatefulSet", "notebook")],
        "gpu_idle": [{"node": "node-a", "gpu": "1", "namespace": "ml", "pod": "notebook-0", "busiest": 1,
                      "idle_hours": STEP * (COUNT - 1) / 3600}],
        "cpu_and_memory_by_workload": [load("Job", "train"), load("StatefulSet", "notebook")],
        "hours_to_full": [{"node": "node-a", "mountpoint": "/", "available": left, "bytes_an_hour": hourly,
                           "hours": -left / hourly}],
        "scrape_health": [
            {"job": "node-exporter", "instance": f"{name}:9100", "answered": answered, "last_answer": moment(last - late),
             "samples": 1311, "seconds": 0.25}
            for name, answered, late in (("node-b", 0.9, STEP), ("node-a", 1, 0))
        ],
        "counter_rate": [{"node": "node-a", "rate": 1000 * (COUNT - 1) / COUNT}, {"node": "node-b", "rate": 1000 * (COUNT - 1) / COUNT}],
        "training_job": [
            {"pod": pod, "node": name, "gpus": 1, "began": moment(began), "ended": moment(last), "utilisation": busy}
            for name, pod, busy in (("node-a", "train-0", 80), ("node-b", "train-1", 40))
        ],
    }


def moment(second):
    """As ClickHouse writes it."""
    return time.strftime("%Y-%m-%d %H:%M:%S.000", time.gmtime(second))


def written(metric, kind, labels, second, value):
    """A row of `landing` as a tuple of `VALUES`."""
    columns = ("job", "instance", "namespace", "pod", "container", "node")
    rest = ", ".join(f"'{name}', '{text}'" for name, text in labels.items() if name not in columns)
    texts = ", ".join(f"'{labels.get(name, '')}'" for name in columns)
    return f"('{moment(second)}', '{metric}', '{kind}', 'c', {texts}, map({rest}), {value}, 'made')"


def differences(found, expected):
    """Where an answer is not the truth; numbers may differ by rounding."""
    def same(one, other):
        if isinstance(other, str):
            return one == other
        return math.isclose(float(one), float(other), rel_tol=1e-6, abs_tol=1e-9)

    wrong = [
        (number, row, wanted)
        for number, (row, wanted) in enumerate(zip(found, expected))
        if row.keys() != wanted.keys() or not all(same(row[name], wanted[name]) for name in wanted)
    ]
    return wrong + ([(f"{len(found)} rows", f"expected {len(expected)}")] if len(found) != len(expected) else [])
