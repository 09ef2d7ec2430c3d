"""The view of deploy/clickhouse that gives dashboards Vector's host metrics out of node-exporter's: two nodes, two scrapes."""

import time

from deployed import FOLDER, Deployed
from questions import moment, written

GIB = 1 << 30
# What node-exporter says of node n at scrape s: (metric, type, labels, value).
SAID = (
    ("node_cpu_seconds_total", "counter", {"cpu": "0", "mode": "iowait"}, lambda n, s: 10 + n + s),
    ("node_cpu_seconds_total", "counter", {"cpu": "0", "mode": "idle"}, lambda n, s: 100 + n + s),
    ("node_filesystem_size_bytes", "gauge", {"device": "/dev/sda1", "fstype": "ext4", "mountpoint": "/"}, lambda n, s: 100 * GIB),
    ("node_filesystem_free_bytes", "gauge", {"device": "/dev/sda1", "fstype": "ext4", "mountpoint": "/"}, lambda n, s: (60 - n) * GIB),
    ("node_filesystem_avail_bytes", "gauge", {"device": "/dev/sda1", "fstype": "ext4", "mountpoint": "/"}, lambda n, s: 50 * GIB),
    ("node_memory_MemTotal_bytes", "gauge", {}, lambda n, s: 64 * GIB),
    ("node_memory_MemFree_bytes", "gauge", {}, lambda n, s: (20 + s) * GIB),
    ("node_memory_Cached_bytes", "gauge", {}, lambda n, s: 4 * GIB),
    ("node_memory_Buffers_bytes", "gauge", {}, lambda n, s: 1 * GIB),
    ("node_vmstat_pswpin", "unknown", {}, lambda n, s: 7 + s),
    ("node_network_transmit_drop_total", "counter", {"device": "eth0"}, lambda n, s: n),
    ("node_load1", "gauge", {}, lambda n, s: 0.5),
    # Half of a sum: there is no boot time, so there is no uptime.
    ("node_time_seconds", "gauge", {}, lambda n, s: 1e9),
)
DISK = {"collector": "filesystem", "device": "/dev/sda1", "filesystem": "ext4", "mountpoint": "/"}
MEMORY = {"collector": "memory"}
# What Vector would have said.
EXPECTED = (
    ("host_cpu_seconds_total", "counter", {"collector": "cpu", "cpu": "0", "mode": "io_wait"}, lambda n, s: 10 + n + s),
    ("host_cpu_seconds_total", "counter", {"collector": "cpu", "cpu": "0", "mode": "idle"}, lambda n, s: 100 + n + s),
    ("host_filesystem_total_bytes", "gauge", DISK, lambda n, s: 100 * GIB),
    ("host_filesystem_free_bytes", "gauge", DISK, lambda n, s: 50 * GIB),
    ("host_filesystem_used_bytes", "gauge", DISK, lambda n, s: (40 + n) * GIB),
    ("host_filesystem_used_ratio", "gauge", DISK, lambda n, s: (40 + n) / (90 + n)),
    ("host_memory_total_bytes", "gauge", MEMORY, lambda n, s: 64 * GIB),
    ("host_memory_free_bytes", "gauge", MEMORY, lambda n, s: (20 + s) * GIB),
    ("host_memory_cached_bytes", "gauge", MEMORY, lambda n, s: 4 * GIB),
    ("host_memory_buffers_bytes", "gauge", MEMORY, lambda n, s: 1 * GIB),
    ("host_memory_used_bytes", "gauge", MEMORY, lambda n, s: (39 - s) * GIB),
    ("host_memory_swapped_in_bytes_total", "counter", MEMORY, lambda n, s: (7 + s) * 4096),
    ("host_network_transmit_packets_drop_total", "counter", {"collector": "network", "device": "eth0"}, lambda n, s: n),
    ("host_load1", "gauge", {"collector": "load"}, lambda n, s: 0.5),
)


def check(suite):
    """Fills the tables, asks the view, and compares its rows with what Vector says of such nodes."""
    checks, tables = suite.checks, Deployed(suite, "hosts", "hosts")
    tables.run("tables.sql")
    names = (FOLDER / "host_metrics.tsv").read_text("utf-8").rstrip("\n")
    for _ in range(2):
        tables.run("host_metrics.sql", METRICS_HOST_NAMES=names)
    checks.equal("host metrics: a row of the table for each line of the file, however often it is run",
                 tables.number("(SELECT count() FROM host_metric_names)"), names.count("\n"))
    began = int(time.time()) - 3600
    scrapes = [(n, s, began + 60 * s) for n in range(2) for s in range(2)]
    rows = [
        written(metric, kind, {"job": "node-exporter", "instance": f"10.0.0.{n}:9100", "node": f"node-{n}", **labels}, second, value(n, s))
        for n, s, second in scrapes for metric, kind, labels, value in SAID
    ]
    fields = "timestamp, metric, type, cluster_id, job, instance, namespace, pod, container, node, labels, value, object"
    tables.query(f"INSERT INTO landing ({fields}) VALUES {', '.join(rows)}")
    found = tables.query("SELECT name, type, tags, timestamp, kind, value FROM host_metrics_as_vector")
    found = sorted((row["name"], row["type"], sorted(row["tags"].items()), row["timestamp"], row["kind"], float(row["value"]))
                   for row in found)
    expected = sorted((name, kind, sorted({**tags, "host": f"node-{n}"}.items()), moment(second), "absolute", float(value(n, s)))
                      for n, s, second in scrapes for name, kind, tags, value in EXPECTED)
    checks.that("host metrics: there are some", len(expected) > 50, len(expected))
    checks.equal("host metrics: the view says what Vector would", found, expected)
    columns = lambda view: [(row["name"], row["type"]) for row in tables.query(f"DESCRIBE TABLE {view}")]
    checks.equal("host metrics: the columns of vector_rows", sorted(name for name, _ in columns("host_metrics_as_vector")),
                 sorted(name for name, _ in columns("vector_rows")))
    tables.run("remove.sql")
    checks.equal("host metrics: nothing is left", tables.query("SHOW TABLES FROM hosts"), [])
