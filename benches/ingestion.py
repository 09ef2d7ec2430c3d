#!/usr/bin/env python3
"""What do the agent's objects cost ClickHouse, against Vector's? CPU for each row, bytes kept, and the time of queries.

The same samples, a mixed cluster's, as the Parquet objects that `target/release/objects` writes and as the JSON arrays of 10 MB
that Vector would have written, are read by the real engine: without keeping them, into the tables of deploy/clickhouse, and into one
table of rows in Vector's shape. Then the same is asked of both. The Python packages are those of tests/real_parts.

    target/release/objects target/objects --each 4
    python benches/ingestion.py target/objects
"""

import argparse
import datetime
import json
import pathlib
import re
import resource
import shutil
import string
import time

import chdb.session
import pyarrow.parquet as pq

TABLES = pathlib.Path(__file__).resolve().parent.parent / "deploy" / "clickhouse" / "tables.sql"
LABELS = ("cluster_id", "job", "instance", "namespace", "pod", "container", "node", "uid")
PARAMETERS = {
    "METRICS_DATABASE": "metrics", "METRICS_URL": "", "METRICS_KEY": "", "METRICS_SECRET": "", "METRICS_KEEPER_PATH": "",
    "METRICS_QUEUE": "", "METRICS_PROMOTED": "",
    # The samples are made up, and old.
    "METRICS_DAYS": "3650", "METRICS_ROLLUP_DAYS": "3650",
}
OBJECT_BYTES = 10 << 20
# As an ingestion of Vector's objects has it.
VECTOR = """CREATE TABLE vector.rows
(
    `name` LowCardinality(String), `tags` Map(LowCardinality(String), String), `timestamp` DateTime64(9, 'UTC'),
    `kind` LowCardinality(String), `type` LowCardinality(String), `value` Float64
)
ENGINE = MergeTree ORDER BY (name, timestamp)"""
VECTOR_FIELDS = ("name String, tags Map(String, String), timestamp DateTime64(9), kind String, "
                 "gauge Tuple(value Nullable(Float64)), counter Tuple(value Nullable(Float64))")
LANDING = "timestamp, metric, type, cluster_id, job, instance, namespace, pod, container, node, uid, value, object, labels"
# The same questions: of the agent's tables, of the map in the same tables, of Vector's rows.
QUESTIONS = {
    "one pod's memory": (
        "SELECT avg(value) FROM metrics.samples WHERE metric = '{metric}' AND series_id IN "
        "(SELECT series_id FROM metrics.series WHERE metric = '{metric}' AND pod = '{pod}')",
        "SELECT avg(value) FROM metrics.samples WHERE metric = '{metric}' AND series_id IN "
        "(SELECT series_id FROM metrics.series WHERE metric = '{metric}' AND labels['pod'] = '{pod}')",
        "SELECT avg(value) FROM vector.rows WHERE name = '{metric}' AND tags['pod'] = '{pod}'",
    ),
    "memory by node": (
        "SELECT node, sum(value) FROM metrics.samples INNER JOIN (SELECT series_id, node FROM metrics.series WHERE metric = '{metric}') AS s "
        "USING series_id WHERE metric = '{metric}' GROUP BY node",
        "SELECT node, sum(value) FROM metrics.samples INNER JOIN (SELECT series_id, labels['node'] AS node FROM metrics.series "
        "WHERE metric = '{metric}') AS s USING series_id WHERE metric = '{metric}' GROUP BY node",
        "SELECT tags['host'] AS node, sum(value) FROM vector.rows WHERE name = '{metric}' GROUP BY node",
    ),
    "series of each job": (
        "SELECT job, uniq(series_id) FROM metrics.series GROUP BY job",
        "SELECT labels['job'] AS job, uniq(series_id) FROM metrics.series GROUP BY job",
        "SELECT tags['collector'] AS job, uniq(name, tags) FROM vector.rows GROUP BY job",
    ),
}


class Engine:
    """The engine, and what it takes."""

    def __init__(self, folder):
        shutil.rmtree(folder, ignore_errors=True)
        self._session = chdb.session.Session(str(folder))

    def query(self, sql):
        """The rows of a query."""
        return [json.loads(line) for line in self._session.query(sql, "JSONEachRow").bytes().decode().splitlines()]

    def cost(self, sql):
        """CPU seconds of a statement, all threads."""
        before = resource.getrusage(resource.RUSAGE_SELF)
        self.query(sql)
        after = resource.getrusage(resource.RUSAGE_SELF)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def kept(self, table):
        """Bytes that a table takes on disk, merged."""
        self.query(f"OPTIMIZE TABLE {table} FINAL")
        database, name = table.split(".")
        where = f"database = '{database}' AND table = '{name}' AND active"
        return int(self.query(f"SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE {where}")[0]["bytes"])


def as_vector(objects, folder):
    """Writes the samples of Parquet objects as Vector's arrays, in the order in which they were scraped: rows, and bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows, size, number, lines = 0, 0, 0, []

    def flush():
        nonlocal size, number, lines
        (folder / f"{number:05}.log").write_text("[" + ",".join(lines) + "]", "utf-8")
        number, size, lines = number + 1, 0, []

    written = 0
    for path in objects:
        table = pq.read_table(path).sort_by([("timestamp", "ascending"), ("job", "ascending"), ("instance", "ascending")])
        for batch in table.to_batches(max_chunksize=20_000):
            for row in batch.to_pylist():
                line = line_of(row)
                rows, size = rows + 1, size + len(line) + 1
                written += len(line) + 1
                lines.append(line)
                if size >= OBJECT_BYTES:
                    flush()
    if lines:
        flush()
    return rows, written


def line_of(row):
    """One sample as Vector writes it."""
    tags = dict(row["labels"]) | {name: row[name] for name in LABELS if row[name]}
    second = row["timestamp"].replace(tzinfo=datetime.timezone.utc)
    tags |= {"collector": tags.pop("job"), "ts": str(int(second.timestamp()))}
    if "node" in tags:
        tags["host"] = tags.pop("node")
    kind = "counter" if row["type"] == "counter" else "gauge"
    value = row["value"] if abs(row["value"]) < float("inf") else None
    return json.dumps({"name": row["metric"], "tags": tags, "timestamp": f"{second:%Y-%m-%dT%H:%M:%S.%f}000Z", "kind": "absolute",
                       kind: {"value": value}}, separators=(",", ":"))


def tables(engine):
    """Makes the tables of deploy/clickhouse, but for the queue; `landing` is filled from files."""
    text = string.Template(TABLES.read_text("utf-8")).substitute(PARAMETERS)
    for statement in re.sub("^ *--.*$", "", text, flags=re.MULTILINE).split(";"):
        if statement.strip() and "queue" not in statement:
            engine.query(statement)
    engine.query("CREATE DATABASE vector")
    engine.query(VECTOR)


def row(name, unit, ours, theirs):
    """A line of the table."""
    print(f"    {name:<52}{unit:>6}{ours:>12.4g}{theirs:>14.4g}{theirs / ours:>10.3g}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("objects", type=pathlib.Path, help="folder with Parquet objects")
    parser.add_argument("--work", type=pathlib.Path, default="target/ingestion", help="folder for all else, emptied (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is done; the least counts (%(default)s)")
    options = parser.parse_args()
    objects, work = sorted(options.objects.resolve().glob("*.parquet")), options.work.resolve()
    rows, text_bytes = as_vector(objects, work / "vector")
    engine = Engine(work / "clickhouse")
    print(f"{rows} samples, ClickHouse {engine.query('SELECT version() AS version')[0]['version']}\n")
    print(f"{'in':>62}{'agent':>12}{'Vector':>14}{'times':>10}")
    row("object, each sample", "B", sum(path.stat().st_size for path in objects) / rows, text_bytes / rows)
    parquet, log = f"file('{options.objects.resolve()}/*.parquet', 'Parquet')", f"file('{work}/vector/*.log', 'JSONEachRow', '{VECTOR_FIELDS}')"
    vector = (f"SELECT name, tags, timestamp, kind, if(isNull(counter.value), 'gauge', 'counter') AS type, "
              f"ifNull(coalesce(counter.value, gauge.value), nan) AS value FROM {log}")
    landed = lambda later: (  # noqa: E731
        f"INSERT INTO metrics.landing ({LANDING}) SELECT {LANDING.replace('timestamp', f'timestamp + toIntervalSecond({later})', 1)} FROM "
        f"(SELECT *, _path AS object FROM {parquet})")
    least = lambda sql: min(engine.cost(sql) for _ in range(options.rounds)) / rows * 1e9  # noqa: E731
    row("read, each sample: CPU", "ns", least(f"SELECT * FROM {parquet} FORMAT Null"), least(f"{vector} FORMAT Null"))
    tables(engine)
    # As if they came now: a series that was seen lately is known.
    age = int(time.time()) - int(engine.query(f"SELECT toUnixTimestamp(max(timestamp)) AS last FROM {parquet}")[0]["last"])
    theirs = engine.cost(f"INSERT INTO vector.rows {vector}") / rows * 1e9
    row("ingested into every table, each sample, series new", "ns", engine.cost(landed(age - 60)) / rows * 1e9, theirs)
    row("ingested into every table, each sample, series known", "ns", engine.cost(landed(age)) / rows * 1e9, theirs)
    theirs = engine.kept("vector.rows") / rows
    ours = {name: engine.kept(f"metrics.{name}") for name in ("samples", "series", "samples_1m", "landing")}
    # Twice as many of the former as of the latter by now.
    series = int(engine.query("SELECT count() AS series FROM metrics.series FINAL")[0]["series"])
    row("kept, each sample: samples", "B", ours["samples"] / rows / 2, theirs)
    row("kept, each sample: minutes", "B", ours["samples_1m"] / rows / 2, theirs)
    row("kept, each sample: landing, for three days", "B", ours["landing"] / rows / 2, theirs)
    print(f"    {'kept, once for each series: series':<52}{'B':>6}{ours['series'] / series:>12.4g}", flush=True)
    found = engine.query("SELECT metric, pod FROM metrics.landing WHERE metric = 'container_memory_working_set_bytes' AND pod != '' LIMIT 1")[0]
    for name, (column, in_map, in_vector) in QUESTIONS.items():
        times = []
        for sql in (column, in_map, in_vector):
            seconds = []
            for _ in range(max(options.rounds, 3)):
                began = time.perf_counter()
                engine.query(sql.format(**found))
                seconds.append(time.perf_counter() - began)
            times.append(min(seconds) * 1e3)
        row(f"{name}: by column, and by map", "ms", times[0], times[1])
        row(f"{name}: by column, and in Vector's rows", "ms", times[0], times[2])


if __name__ == "__main__":
    main()
