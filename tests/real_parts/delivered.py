"""The delivered objects, read three times: by pyarrow, by DuckDB, and by the ClickHouse engine straight from the S3 server."""

import io
import json
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import duckdb
import numpy
import pyarrow as pa
import pyarrow.parquet as pq

from expected import bits, series
from s3_server import BUCKET, PREFIX

PROMOTED = ["cluster_id", "job", "instance", "namespace", "pod", "container", "node", "uid"]
COLUMNS = ["timestamp", "metric", "type", *PROMOTED, "labels", "value"]

# The Parquet types of the layout; every column, and so every leaf, is REQUIRED.
PARQUET = [
    ("timestamp", "INT64", "Timestamp(isAdjustedToUTC=true, timeUnit=milliseconds, is_from_converted_type=false, "
     "force_set_converted_type=false)"),
    *[(name, "BYTE_ARRAY", "String") for name in ["metric", "type", *PROMOTED]],
    ("labels.key_value.key", "BYTE_ARRAY", "String"),
    ("labels.key_value.value", "BYTE_ARRAY", "String"),
    ("value", "DOUBLE", "None"),
]
# The same as ClickHouse sees it. None is Nullable.
CLICKHOUSE = [
    ("timestamp", "DateTime64(3, 'UTC')"),
    *[(name, "String") for name in ["metric", "type", *PROMOTED]],
    ("labels", "Map(String, String)"),
    ("value", "Float64"),
]


class DeliveredObject:
    """One object through pyarrow."""

    def __init__(self, key, data):
        self.key = key
        self.size = len(data)
        file = pq.ParquetFile(io.BytesIO(data))
        self.row_groups = file.metadata.num_row_groups
        self.metadata = {
            name.decode(): value.decode("utf-8", "replace")
            for name, value in (file.metadata.metadata or {}).items()
            if name != b"ARROW:schema"
        }
        leaves = [file.schema.column(index) for index in range(len(file.schema))]
        self.leaves = [(leaf.path, leaf.physical_type, str(leaf.logical_type)) for leaf in leaves]
        # Only the entries of the map repeat, and a map has one optional level less when it is required.
        self.optional = [leaf.path for leaf in leaves if leaf.max_definition_level > leaf.max_repetition_level]
        table = file.read()
        self.nullable = [field.name for field in table.schema if field.nullable]
        self.nulls = [name for name in table.column_names if table.column(name).null_count]
        self.table = table

    def rows(self):
        """`(timestamp in ms, metric, type, series, value)` of each row, in the order of the file."""
        columns = {name: self.table.column(name) for name in self.table.column_names}
        times = columns["timestamp"].cast(pa.int64()).to_pylist()
        promoted = [(name, columns[name].to_pylist()) for name in PROMOTED]
        rest = zip(columns["metric"].to_pylist(), columns["type"].to_pylist(), columns["value"].to_pylist(),
                   columns["labels"].to_pylist(), strict=True)
        for index, (metric, kind, value, labels) in enumerate(rest):
            every = dict(labels)
            every.update((name, values[index]) for name, values in promoted)
            yield times[index], metric, kind, series(every), value


class Totals:
    """What both readers must agree on: counts, times, number of series, and sums per metric."""

    def __init__(self, rows, first, last, distinct, metrics):
        self.rows = rows
        self.first = first
        self.last = last
        self.distinct = distinct
        # metric -> (rows, finite values, sum of these, sum of all values' bits modulo 2^64)
        self.metrics = metrics

    def differences(self, other):
        """Where two readings disagree. Sums may differ by rounding only; the sums of bits may not differ."""
        found = [
            (name, getattr(self, name), getattr(other, name))
            for name in ("rows", "first", "last", "distinct")
            if getattr(self, name) != getattr(other, name)
        ]
        for metric in self.metrics.keys() | other.metrics.keys():
            mine, theirs = self.metrics.get(metric), other.metrics.get(metric)
            same = (
                mine is not None and theirs is not None
                and (mine[0], mine[1], mine[3]) == (theirs[0], theirs[1], theirs[3])
                and math.isclose(mine[2], theirs[2], rel_tol=1e-9, abs_tol=1e-9)
            )
            if not same:
                found.append((metric, mine, theirs))
        return found


def totals_of_rows(rows):
    """Totals by pyarrow's reading."""
    values, times, distinct = defaultdict(list), [], set()
    for time, metric, _, labels, value in rows:
        values[metric].append(value)
        times.append(time)
        distinct.add((metric, labels))
    metrics = {metric: totals_of_values(numpy.array(numbers)) for metric, numbers in values.items()}
    return Totals(len(times), min(times, default=0), max(times, default=0), len(distinct), metrics)


def totals_of_values(values):
    """What `Totals` says of a metric with these values."""
    array = values.astype(numpy.float64, copy=False)
    finite = array[numpy.isfinite(array)]
    return len(array), len(finite), math.fsum(finite), int(array.view(numpy.uint64).sum(dtype=numpy.uint64))


def totals_by_duckdb(raw):
    """Totals by DuckDB's reading of the objects' bytes, by key."""
    with tempfile.TemporaryDirectory() as directory, duckdb.connect() as connection:
        for number, data in enumerate(raw.values()):
            Path(directory, f"{number}.parquet").write_bytes(data)
        source = f"read_parquet('{directory}/*.parquet')"
        promoted = ", ".join(PROMOTED)
        rows, first, last, distinct = connection.execute(
            f"SELECT count(*), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)), "
            f"count(DISTINCT (metric, {promoted}, labels::VARCHAR)) FROM {source}"
        ).fetchone()
        columns = connection.execute(f"SELECT metric, value FROM {source} ORDER BY metric").fetchnumpy()
    names, starts = numpy.unique(columns["metric"], return_index=True)
    parts = numpy.split(numpy.asarray(columns["value"]), starts[1:])
    metrics = {name: totals_of_values(part) for name, part in zip(names, parts, strict=True)}
    return Totals(rows, first, last, distinct, metrics)


class ClickHouse:
    """The ClickHouse engine (the Python package `chdb`), a process per query: it shares nothing with pyarrow."""

    def __init__(self, s3):
        key, secret = s3.root
        glob = f"{s3.url}/{BUCKET}/{PREFIX}/*/*.parquet"
        self._source = f"s3('{glob}', '{key}', '{secret}', 'Parquet')"

    def query(self, sql):
        """The rows of a query, in which `{source}` stands for all objects, as dictionaries."""
        program = "import sys, chdb; sys.stdout.write(str(chdb.query(sys.stdin.read(), 'JSONEachRow')))"
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=sql.replace("{source}", self._source),
            capture_output=True, text=True, timeout=300, check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"ClickHouse: {done.stderr[-2000:].replace(self._source, 's3(...)')}")
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    def schema(self):
        """Column names and types as ClickHouse infers them."""
        rows = self.query("DESCRIBE TABLE {source} SETTINGS schema_inference_make_columns_nullable = 'auto'")
        return [(row["name"], row["type"]) for row in rows]

    def totals(self):
        """Totals by ClickHouse's reading."""
        promoted = ", ".join(PROMOTED)
        whole = self.query(
            "SELECT count() AS rows, toUnixTimestamp64Milli(min(timestamp)) AS first, "
            "toUnixTimestamp64Milli(max(timestamp)) AS last, "
            f"uniqExact((metric, {promoted}, mapSort(labels))) AS distinct FROM {{source}}"
        )[0]
        metrics = self.query(
            "SELECT metric, count() AS rows, countIf(isFinite(value)) AS finite, "
            "toString(sumKahanIf(value, isFinite(value))) AS sum, "
            "toString(sum(reinterpretAsUInt64(value))) AS bits FROM {source} GROUP BY metric"
        )
        return Totals(
            int(whole["rows"]), int(whole["first"]), int(whole["last"]), int(whole["distinct"]),
            {row["metric"]: (int(row["rows"]), int(row["finite"]), float(row["sum"]), int(row["bits"]))
             for row in metrics},
        )


def rows_by_time(objects):
    """`{timestamp: {(metric, type, series): bits}}` of all objects, and the rows that were there already."""
    found, repeated = defaultdict(dict), []
    for delivered in objects:
        for time, metric, kind, labels, value in delivered.rows():
            if (metric, kind, labels) in found[time]:
                repeated.append((time, metric, labels))
            found[time][(metric, kind, labels)] = bits(value)
    return found, repeated
