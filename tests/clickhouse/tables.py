"""The tables of one scenario: what `agent schema` prints, a queue that fills it, and a record of what the queue has read."""

import re

from delivered import PROMOTED
from s3_server import BUCKET

# Everything that makes a series what it is, whether a label has a column of its own or not.
IDENTITY = "mapSort(mapConcat(CAST(labels, 'Map(String, String)'), mapFilter((name, value) -> value != '', map({}))))".format(
    ", ".join(f"'{name}', CAST({name}, 'String')" for name in PROMOTED)
)
SERIES_ID = f"sipHash64(CAST(metric, 'String'), {IDENTITY})"
# One pointer for all that is below the prefix: the least forgiving table there is.
PLAIN = "mode = 'ordered', buckets = 1"
# Every table: look often, and say what was read. A column that is missing is an error, never a default.
SETTINGS = ("polling_min_timeout_ms = 200, polling_max_timeout_ms = 500, polling_backoff_ms = 0, "
            "enable_logging_to_queue_log = 1, input_format_parquet_allow_missing_columns = 0")


class Tables:
    """A database with queue, landing and samples. Rows flow as soon as it is made."""

    def __init__(self, engine, s3, database, prefix, printed, mode=PLAIN):
        """`printed` is what `agent schema` says, run as it is; `mode`, the settings of the queue table."""
        self._engine = engine
        self._database = database
        self._place = (f"{s3.url}/{BUCKET}/{prefix}", *s3.root)
        engine.query(f"CREATE DATABASE {database}")
        engine.query(f"USE {database}")
        engine.query(printed)
        engine.query(f"CREATE TABLE metrics_q AS landing ENGINE = S3Queue({self._source()}) SETTINGS {mode}, {SETTINGS}, "
                     f"keeper_path = '/suite/{database}'")
        engine.query(f"CREATE TABLE samples (`series_id` UInt64, `timestamp` DateTime64(3, 'UTC'), `metric` String, "
                     f"`value` Float64) ENGINE = ReplacingMergeTree PARTITION BY toDate(timestamp) "
                     f"ORDER BY (metric, series_id, timestamp)")
        engine.query(f"CREATE MATERIALIZED VIEW to_samples TO samples AS SELECT {SERIES_ID} AS series_id, timestamp, "
                     f"metric, value FROM landing")
        engine.query("CREATE TABLE arrivals (`file` String, `rows` UInt64) ENGINE = MergeTree ORDER BY file")
        engine.query("CREATE MATERIALIZED VIEW to_arrivals TO arrivals AS SELECT _path AS file, count() AS rows "
                     "FROM metrics_q GROUP BY file")
        engine.query("CREATE MATERIALIZED VIEW to_landing TO landing AS SELECT * FROM metrics_q")

    def _source(self):
        place, key, secret = self._place
        return f"'{place}/*/*.parquet', '{key}', '{secret}', 'Parquet'"

    def query(self, sql):
        """A query in this database."""
        self._engine.query(f"USE {self._database}")
        return self._engine.query(sql)

    def arrivals(self):
        """`{key: rows}` of all that the queue has read; an object read twice has its rows twice."""
        rows = self.query("SELECT file, sum(rows) AS rows FROM arrivals GROUP BY file")
        return {row["file"]: int(row["rows"]) for row in rows}

    def log(self):
        """`{key: [status]}` by the queue's own log, a status for each time that the object was read."""
        found = {}
        rows = self.query(f"SELECT file_name, status FROM system.s3queue_log WHERE database = '{self._database}'")
        for row in rows:
            found.setdefault(row["file_name"], []).append(row["status"])
        return found

    def count(self, table, final=False):
        """The number of rows of a table, duplicates replaced or not."""
        return int(self.query(f"SELECT count() AS rows FROM {table} {'FINAL' if final else ''}")[0]["rows"])

    def landing_and_objects(self):
        """The same checksum of every column of every row twice: of the table, and of the objects without the queue."""
        columns = ", ".join(["toUnixTimestamp64Milli(timestamp)", *(f"CAST({name}, 'String')" for name in ("metric", "type")),
                             IDENTITY, "reinterpretAsUInt64(value)"])
        sums = f"SELECT count() AS rows, toString(sum(sipHash64({columns}))) AS sum FROM"
        return self.query(f"{sums} landing")[0], self.query(f"{sums} s3({self._source()})")[0]


def queue_settings(printed):
    """The settings of a queue table as `agent schema` prints them below the table, in a comment."""
    lines = re.findall(r"^--   (.*)$", printed, re.MULTILINE)
    return " ".join(lines).rstrip(", ")
