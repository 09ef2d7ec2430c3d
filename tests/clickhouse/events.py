"""The tables of Kubernetes events beside those of metrics, below one prefix: neither queue sees the other's objects."""

import io
import pathlib
import time

import pyarrow as pa
import pyarrow.parquet as pq
from deployed import Deployed
from processes import wait_for
from s3_server import BUCKET, PREFIX

DATABASE, SUFFIX = "happened", "events"
TIME = pa.timestamp("ms", "UTC")
METRIC = (("timestamp", TIME), ("metric", pa.string()), ("type", pa.string()), *(
    (name, pa.string()) for name in ("cluster_id", "job", "instance", "namespace", "pod", "container", "node", "uid")
), ("labels", pa.map_(pa.string(), pa.string())), ("value", pa.float64()))
# As pipeline/src/schema/kube_events.rs says, which a test there compares with events.sql.
EVENT = (("timestamp", TIME), *((name, pa.string()) for name in (
    "cluster_id", "source", "type", "reason", "kind", "namespace", "name", "object_uid", "container", "node", "component",
    "owner_kind", "owner", "uid")), ("count", pa.uint64()), ("exit_code", pa.int32()), ("message", pa.string()))


def check(suite):
    """Runs the scenario and judges it."""
    checks, prefix, now = suite.checks, f"{PREFIX}/{SUFFIX}", int(time.time())
    tables = Deployed(suite, DATABASE, SUFFIX)
    for _ in range(2):
        tables.run("tables.sql")
        tables.run("events.sql")
    put = lambda key, body: suite.s3.s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=body)
    # In turn: neither pointer may pass the other's objects by.
    for number in range(3):
        put(f"{now + number}/w-{number:010}.parquet", parquet(METRIC, [metric(now, number)]))
        put(f"0-events/{now + number}/w-{number:010}.parquet", parquet(EVENT, list(happened(now, number))))
    # Another agent, which had the Lease next, ships again what the API server still has: other bytes, the same pairs.
    put(f"0-events/{now + 9}/x-0000000001.parquet", parquet(EVENT, [row for i in range(3) for row in happened(now, i)]))
    count = lambda table: tables.number(f"(SELECT count() FROM {table})")
    wait_for("all rows to land", lambda: count("landing") >= 3 and count("events_landing") >= 24, 60, 0.2)
    # Rows are there before the queue has committed the object that they came from, and its log says so only after that.
    wait_for("the queues to have said what became of each object", lambda: len(tables.states()) >= 7, 60, 0.2)
    checks.equal("events: each object is read by one queue, and none is refused", sorted(tables.states().values()), ["Processed"] * 7)
    objects = [row["object"] for row in tables.query("SELECT DISTINCT object FROM landing")]
    checks.none("events: the queue of metrics sees no events", [key for key in objects if "0-events" in key])
    checks.equal("events: the queue of events sees no metrics",
                 tables.number("(SELECT countIf(object NOT LIKE '%/0-events/%') FROM events_landing)"), 0)
    checks.equal("events: what two agents shipped is there once", tables.number("(SELECT count() FROM events FINAL)"), 12)
    checks.equal("events: by identity and count", tables.number("(SELECT uniqExact(uid, count) FROM events_landing)"), 12)
    tables.query(f"SET param_from = '{moment(now - 60)}'")
    tables.query(f"SET param_to = '{moment(now + 60)}'")
    found = tables.run(pathlib.Path("questions", "terminations.sql"))[0]
    found = [{name: row[name] for name in ("namespace", "owner_kind", "owner", "reason", "terminations", "pods", "exit_codes")}
             for row in found]
    for row in found:
        row["terminations"], row["pods"] = int(row["terminations"]), int(row["pods"])
    checks.equal("events: why pods ended, by workload", found, [
        {"namespace": "ml", "owner_kind": "Job", "owner": "train", "reason": "OOMKilled", "terminations": 3, "pods": 1,
         "exit_codes": [137]},
        {"namespace": "ml", "owner_kind": "Deployment", "owner": "web", "reason": "Killing", "terminations": 3, "pods": 1,
         "exit_codes": []},
    ])
    checks.equal("events: check.sql, which looks at metrics, finds nothing to say", tables.run("check.sql"), [[], []])
    tables.run("remove.sql")
    checks.equal("events: nothing is left after remove.sql", tables.query(f"SHOW TABLES FROM {DATABASE}"), [])


def metric(now, number):
    """One row of metrics."""
    return [now * 1000 + number, "up", "gauge", "c", "j", "i", "", "", "", "", "", [], 1.0]


def happened(now, number):
    """The rows of one object of events: four more counts, of which one thing ended nothing."""
    def row(source, reason, owner, uid, count, code):
        return [(now + number) * 1000, "c", source, "Warning", reason, "Pod", "ml", f"{owner[1]}-0", "u", "main", "n", "kubelet",
                *owner, uid, count, code, "said"]

    yield row("event", "Killing", ("Deployment", "web"), "a", number + 1, 0)
    yield row("event", "Scheduled", ("Deployment", "web"), f"b{number}", 1, 0)
    yield row("pod", "OOMKilled", ("Job", "train"), "u/main", number + 1, 137)
    yield row("pod", "Completed", ("Job", "train"), "u/init", number + 1, 0)


def parquet(columns, rows):
    """An object of rows."""
    fields = [pa.field(name, kind, nullable=False) for name, kind in columns]
    arrays = [pa.array([row[i] for row in rows], kind) for i, (_, kind) in enumerate(columns)]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), out)
    return out.getvalue()


def moment(second):
    """As ClickHouse reads it."""
    return time.strftime("%Y-%m-%d %H:%M:%S.000", time.gmtime(second))
