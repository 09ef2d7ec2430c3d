"""An ingestion as Vector's objects had it, unchanged: it reads Vector's last object, and then what the agent writes."""

import calendar
import collections
import gzip
import json
import math
import re
import time

import judge
from exporters import genuine
from processes import wait_for
from s3_server import BUCKET, PREFIX
from tables import PLAIN, Tables
from writer import Writer

# The queue table of the old ingestion: its settings know nothing of the agent.
SETTINGS = f"{PLAIN}, polling_min_timeout_ms = 200, polling_max_timeout_ms = 500, polling_backoff_ms = 0, " \
           "enable_logging_to_queue_log = 1, date_time_input_format = 'best_effort'"
COLUMNS = """`name` LowCardinality(String), `tags` Map(LowCardinality(String), String), `timestamp` DateTime64(9, 'UTC'),
    `kind` LowCardinality(String), `counter` Tuple(value Nullable(Float64)), `gauge` Tuple(value Nullable(Float64)),
    `aggregated_histogram` Tuple(buckets Array(Tuple(upper_limit Float64, count UInt64)), count UInt64, sum Nullable(Float64)),
    `aggregated_summary` Tuple(quantiles Array(Tuple(quantile Float64, value Nullable(Float64))), count UInt64,
        sum Nullable(Float64))"""

# Tags that Vector's configuration set, and what was the exporter's own of them, but for the second of the row.
OWN = "mapFilter((tag, text) -> match(tag, '(collector|host|_ts)$'), tags)"

# As Vector 0.58 wrote it of an exporter made for the purpose.
VECTORS = r"""[{"name":"probe_requests_total","tags":{"method":"GET","path":"/a\"b\\c\nd","ts":"1795303367"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","counter":{"value":1234567.0}},{"name":"probe_temperature_celsius","tags":{"room":"plain","ts":"1795303367"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","gauge":{"value":21.5}},{"name":"probe_latency_seconds","tags":{"route":"/x","ts":"1795303367"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","aggregated_histogram":{"buckets":[{"upper_limit":0.1,"count":10},{"upper_limit":1.0,"count":5}],"count":17,"sum":8.25}},{"name":"probe_rpc_seconds","tags":{"service":"s","ts":"1795303367"},"timestamp":"2026-11-21T23:22:47.401428458Z","kind":"absolute","aggregated_summary":{"quantiles":[{"quantile":0.5,"value":0.05},{"quantile":0.99,"value":null}],"count":2693,"sum":17560.473}}]"""


class OldIngestion(Tables):
    """The database of the old ingestion: queue, one view, one table of rows."""

    def __init__(self, engine, s3, database, prefix, extension):
        self._engine, self._database = engine, database
        place, (key, secret) = f"{s3.url}/{BUCKET}/{prefix}", s3.root
        engine.query(f"CREATE DATABASE {database}")
        engine.query(f"USE {database}")
        engine.query(f"CREATE TABLE vector_q ({COLUMNS}) ENGINE = S3Queue('{place}/*/*.{extension}', '{key}', '{secret}', "
                     f"'JSONEachRow') SETTINGS {SETTINGS}, keeper_path = '/suite/{database}'")
        engine.query(f"CREATE TABLE rows ({COLUMNS}) ENGINE = MergeTree ORDER BY (name, timestamp)")
        engine.query("CREATE TABLE arrivals (`file` String, `rows` UInt64) ENGINE = MergeTree ORDER BY file")
        engine.query("CREATE MATERIALIZED VIEW to_arrivals TO arrivals AS SELECT _path AS file, count() AS rows "
                     "FROM vector_q GROUP BY file")
        engine.query("CREATE MATERIALIZED VIEW to_rows TO rows AS SELECT * FROM vector_q")

    def number_of(self, condition):
        """How many rows there are of this kind."""
        return int(self.query(f"SELECT count() AS found FROM rows WHERE {condition}")[0]["found"])

    def values(self):
        """Every row as a text that says all of it, counted."""
        found = collections.Counter()
        for row in self.query("SELECT name, tags, toString(timestamp) AS time, kind, counter, gauge, aggregated_histogram, "
                              "aggregated_summary FROM rows"):
            shape = next((row[field] for field in ("aggregated_histogram", "aggregated_summary") if filled(row[field])), None)
            shape = shape or {"value": row["counter"]["value"] if row["counter"]["value"] is not None else row["gauge"]["value"]}
            found[text(row["name"], row["tags"], row["time"], row["kind"], shape)] += 1
        return found


def filled(shape):
    """Whether a histogram or a summary is one, and not what a row of another shape has in its place."""
    return int(shape["count"]) > 0 or shape["sum"] is not None


def text(name, tags, moment, kind, shape):
    """One row; numbers are doubles, whichever way they are written."""
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return None if value is None else float(value)
    return json.dumps([name, tags, moment, kind, plain(shape)], sort_keys=True)


class Objects:
    """All objects below a prefix as Python reads them, in the words of `judge`."""

    def __init__(self, s3, prefix):
        self.keys = sorted(entry["Key"] for entry in s3.objects() if entry["Key"].startswith(prefix + "/"))
        self.rows, self.samples, self.answers, self.failed, self.elements = {}, {}, {}, {}, []
        for key in self.keys:
            data = s3.read(key)
            elements = json.loads(gzip.decompress(data) if key.endswith(".gz") else data)
            self.rows[key] = len(elements)
            self.elements += elements
        for element in self.elements:
            name, tags = element["name"], element["tags"]
            shape = next(element[field] for field in element if field not in ("name", "tags", "timestamp", "kind"))
            seconds, fraction = element["timestamp"].removesuffix("Z").split(".")
            moment = calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S"))
            sample = (name, tuple(sorted(tags.items())), element["timestamp"])
            self.samples[sample] = self.samples.get(sample, 0) + 1
            if name == "up" and shape["value"] == 0:
                self.failed.setdefault(tags["instance"], []).append(moment + float(f"0.{fraction}"))
            if name.startswith("suite_") and math.isfinite(shape["value"]):
                times = self.answers.setdefault((tags["instance"], int(shape["value"])), {})
                times[element["timestamp"]] = times.get(element["timestamp"], 0) + 1

    repeated, torn = judge.Bucket.repeated, judge.Bucket.torn

    def values(self):
        """Every element as `OldIngestion.values` has it."""
        found = collections.Counter()
        for element in self.elements:
            shape = next(element[field] for field in element if field not in ("name", "tags", "timestamp", "kind"))
            moment = element["timestamp"].replace("T", " ").removesuffix("Z")
            found[text(element["name"], element["tags"], moment, element["kind"], shape)] += 1
        return found


def check(suite):
    """Runs the scenario, plain and by gzip, and judges it."""
    for compression, extension in (("none", "log"), ("gzip", "log.gz")):
        run(suite, f"vector_{compression}", compression, extension)


def run(suite, who, compression, extension):
    """One agent, one table."""
    checks, prefix = suite.checks, f"{PREFIX}/{who}"
    more = f"encoding: vector_json\nvector_json: {{compression: {compression}}}\n"
    writer = Writer(suite, who, who, more=more)
    suite.closing.append(writer.close)
    tables = OldIngestion(suite.engine, suite.s3, who, prefix, extension)
    # Vector's last object, of the second in which the agent comes.
    now = int(time.time())
    last = f"{prefix}/{now}/{now}-f47ac10b-58cc-4372-a567-0e02b2c3d479.{extension}"
    body = VECTORS.encode() if compression == "none" else gzip.compress(VECTORS.encode())
    suite.s3.s3.put_object(Bucket=BUCKET, Key=last, Body=body)
    wait_for("Vector's object to be read", lambda: tables.count("rows") == 4, 30, 0.2)
    checks.that(f"{who}: agent schema says that the table stays", "stays in use" in writer.schema(), writer.schema())
    writer.start()
    trouble(writer)
    checks.equal(f"{who}: the agent ends with exit code 0", writer.finish(60), 0)
    checks.none(f"{who}: nothing is left in the spool", writer.left())
    checks.equal(f"{who}: the agent counted nothing as dropped", writer.dropped, {})
    objects = Objects(suite.s3, prefix)
    judge.settle(tables, objects.keys)
    checks.section(who, judge.check_queue, checks, tables, objects, who)
    checks.section(who, judge.check_answers, checks, [writer], objects, who)
    checks.section(who, check_rows, checks, tables, objects, who, last)


def trouble(writer):
    """Objects arrive and their answers do not; the agent is killed, with a batch open and in the middle of an upload."""
    for mode, kill in (("pass", True), ("lose", True), ("tear", False), ("lose", False), ("pass", True)):
        before = writer.road.hit[mode]
        writer.road.mode = mode
        enough = before + (2 if mode == "pass" else 1)
        wait_for(f"PUTs to meet {mode}", lambda: writer.running() and writer.road.hit[mode] >= enough, 30, 0.005)
        if kill:
            writer.kill()
            writer.start()
    writer.road.mode = "pass"


def check_rows(checks, tables, objects, who, last):
    """The rows are what stands in the objects, field by field, and have what readers of the old rows ask for."""
    checks.none(f"{who}: no sample is in the bucket twice", objects.repeated())
    checks.equal(f"{who}: rows in the table = elements in the objects", tables.count("rows"), len(objects.elements))
    found, shipped = tables.values(), objects.values()
    checks.none(f"{who}: every row says what its element says", list(((found - shipped) + (shipped - found)).items())[:5])
    seconds = [int(re.search(r"/(\d{10})/\1-[0-9a-f-]{36}\.log", key)[1]) for key in objects.keys]
    checks.that(f"{who}: keys are Vector's, and each object has a second of its own", seconds == sorted(set(seconds)), seconds)
    checks.equal(f"{who}: Vector's own object is the first", objects.keys[0], last)
    asked = tables.query("SELECT DISTINCT tags['collector'] AS collector, tags['host'] AS host, kind FROM rows "
                         "WHERE name NOT LIKE 'probe_%'")
    checks.equal(f"{who}: collector and host are there", asked, [{"collector": "judged", "host": who, "kind": "absolute"}])
    checks.equal(f"{who}: labels that Vector's tags have hidden are there under another name", [
        row["own"] for row in tables.query(f"SELECT DISTINCT {OWN} AS own FROM rows WHERE name = 'judged_labels' ORDER BY toString(own)")], genuine(who))
    late = tables.number_of("abs(toInt64(tags['ts']) - toUnixTimestamp(timestamp)) > 1")
    checks.equal(f"{who}: the tag ts is the second of the row", late, 0)
    wrong = tables.number_of("name = 'judged_seconds' AND aggregated_histogram.count != arraySum(b -> b.2, "
                             "aggregated_histogram.buckets) + 1")
    checks.equal(f"{who}: buckets are per bucket, the last one left out", wrong, 0)
    whole = tables.number_of("name IN ('judged_seconds', 'judged_rpc')")
    up = tables.number_of("name = 'up' AND gauge.value = 1")
    checks.equal(f"{who}: each scrape brought a histogram and a summary", whole, 2 * up)

