#!/usr/bin/env python3
"""Writes deploy/clickhouse/cluster.sql and cluster_remove.sql from tables.sql and remove.sql, so that they cannot differ in anything
else: every table twice, replicated on its shard and distributed over all of them.

    tests/clickhouse/cluster_file.py
"""

import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parent.parent.parent / "deploy" / "clickhouse"
# The tables with rows in them, and how rows find their shard: a series, and so every sample of it, has one.
SHARDED = ("landing", "samples", "series", "samples_1m", "samples_1h")

HEAD = """-- tables.sql for a cluster: every table is replicated on its shard as `.._local`, and distributed over the shards under its own name,
-- which is the one to ask and the one that the queue fills. A series has one shard, by its `series_id`, so that what came twice
-- meets there. The other files beside this one, and the questions, are the same for a cluster. Made from tables.sql by
-- tests/clickhouse/cluster_file.py.
--
--   METRICS_CLUSTER=default METRICS_DATABASE=metrics ... envsubst < deploy/clickhouse/cluster.sql | clickhouse-client --multiquery
--
-- The parameters are those of tables.sql, and METRICS_CLUSTER, the cluster's name in `system.clusters`. Needs ClickHouse Keeper, the
-- macros {shard} and {replica}, and the server's default paths of replicated tables. The servers share the queue by its keeper
-- path: an object is read by one of them. Of hours, each replica makes all of its shard; the same ones replace each other.
--
-- What has been executed, by the suite: every statement but for its ON CLUSTER; the queue's road through the distributed tables, and
-- every question, on one shard without replicas. Several servers have not.

"""

HEAD_REMOVE = """-- Takes away what cluster.sql made, its samples with it, as remove.sql does. Made from remove.sql by tests/clickhouse/cluster_file.py.
--
--   METRICS_CLUSTER=default METRICS_DATABASE=metrics envsubst < deploy/clickhouse/cluster_remove.sql | clickhouse-client --multiquery

"""
ON_CLUSTER = "ON CLUSTER '${METRICS_CLUSTER}'"


def files():
    """`{name: text}` of the files for a cluster."""
    tables, remove = ((FOLDER / name).read_text("utf-8") for name in ("tables.sql", "remove.sql"))
    tables = re.sub(r"(CREATE DATABASE IF NOT EXISTS \S+?);", rf"\1 {ON_CLUSTER};", tables[tables.index("CREATE DATABASE") :])
    removed = []
    for line in remove[remove.index("DROP") :].splitlines():
        name = re.search(r"\.(\w+) SYNC", line).group(1)
        removed.append(line.replace(" SYNC;", f" {ON_CLUSTER} SYNC;"))
        if name in SHARDED:
            removed.append(removed[-1].replace(f".{name} ", f".{name}_local "))
    return {
        "cluster.sql": HEAD + ";\n".join(statement_of(statement) for statement in tables.split(";\n")),
        "cluster_remove.sql": HEAD_REMOVE + "\n".join(removed) + "\n",
    }


def statement_of(statement):
    """One statement."""
    made = re.search(r"CREATE (?:OR REPLACE )?(TABLE|VIEW|MATERIALIZED VIEW)(?: IF NOT EXISTS)? \$\{METRICS_DATABASE\}\.(\w+)", statement)
    if not made:
        return statement
    kind, name = made.groups()
    head, tail = statement[: made.end()], statement[made.end() :]
    if name in SHARDED:
        head += "_local"
        engine = re.search(r"ENGINE = (\w*)MergeTree", tail).group(1)
        tail = tail.replace(f"ENGINE = {engine}MergeTree", f"ENGINE = Replicated{engine}MergeTree")
        tail = tail.replace("non_replicated_deduplication_window", "replicated_deduplication_window")
    elif kind == "MATERIALIZED VIEW" and name != "from_queue":
        # What lands on a shard stays there.
        tail = re.sub(rf"\$\{{METRICS_DATABASE\}}\.({'|'.join(SHARDED)})\b", r"${METRICS_DATABASE}.\1_local", tail)
    found = f"{head} {ON_CLUSTER}{tail}"
    return f"{found};\n\n{distributed(name)}" if name in SHARDED else found


def distributed(name):
    """The table that stands for all shards."""
    table = f"${{METRICS_DATABASE}}.{name}"
    # A row that waits for its shard waits on a disk.
    return f"""CREATE TABLE IF NOT EXISTS {table} {ON_CLUSTER} AS {table}_local
ENGINE = Distributed('${{METRICS_CLUSTER}}', '${{METRICS_DATABASE}}', {name}_local, series_id)
SETTINGS fsync_after_insert = 1, fsync_directories = 1"""


if __name__ == "__main__":
    for file, content in files().items():
        (FOLDER / file).write_text(content, "utf-8")
