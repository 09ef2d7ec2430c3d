"""The tables of deploy/clickhouse, made as a user makes them, while an agent uploads: filled, restarted, checked, removed."""

import datetime
import io
import pathlib
import re
import string
import time

import judge
import pyarrow as pa
import pyarrow.parquet as pq
from exporters import genuine
from processes import Failure, wait_for
from s3_server import BUCKET, PREFIX
from vector_json import OWN
from writer import Writer

FOLDER = pathlib.Path(__file__).resolve().parent.parent.parent / "deploy" / "clickhouse"
DATABASE = "metrics"
SUFFIX = "deployed"


def statements(text):
    """The statements of a file, without its comments."""
    return [one for one in re.sub("^ *--.*$", "", text, flags=re.MULTILINE).split(";") if one.strip()]


class Deployed:
    """The database that `tables.sql` makes."""

    def __init__(self, suite, database=DATABASE, suffix=SUFFIX):
        self._engine = suite.engine
        self._database = database
        key, secret = suite.s3.root
        self._parameters = {
            "METRICS_DATABASE": database, "METRICS_URL": f"{suite.s3.url}/{BUCKET}/{PREFIX}/{suffix}", "METRICS_KEY": key,
            "METRICS_SECRET": secret, "METRICS_KEEPER_PATH": f"/suite/deployed-{suffix}", "METRICS_QUEUE": "mode = 'ordered', buckets = 1",
            "METRICS_PROMOTED": "", "METRICS_DAYS": "30", "METRICS_ROLLUP_DAYS": "400", "METRICS_PATIENCE": "0 SECOND",
        }

    def run(self, name, **more):
        """Runs a file as `envsubst` and `clickhouse-client --multiquery` do, with more parameters: the rows of each statement."""
        return [self._engine.query(statement) for statement in statements(self.text(name, **more))]

    def text(self, name, **more):
        """A file as `envsubst` gives it."""
        return string.Template((FOLDER / name).read_text("utf-8")).substitute(self._parameters | more)

    def query(self, sql):
        """A query in this database."""
        self._engine.query(f"USE {self._database}")
        return self._engine.query(sql)

    def number(self, sql):
        """The one number that a query gives."""
        return int(next(iter(self.query(f"SELECT {sql} AS found")[0].values())))

    def landed(self):
        """`{key: rows}` of all that has landed."""
        rows = self.query("SELECT object, count() AS rows FROM landing GROUP BY object")
        return {judge.name_of(row["object"]): int(row["rows"]) for row in rows}

    def states(self):
        """`{key: state}` by the queue's log."""
        rows = self.query(f"SELECT file_name, status FROM system.s3queue_log WHERE database = '{self._database}'")
        return {judge.name_of(row["file_name"]): row["status"] for row in rows}


def check(suite):
    """Runs the scenario and judges it."""
    checks, prefix = suite.checks, f"{PREFIX}/{SUFFIX}"
    writer = Writer(suite, "deployed", SUFFIX)
    suite.closing.append(writer.close)
    tables = Deployed(suite)
    tables.run("tables.sql")
    tables.run("promql.sql")
    check_columns(checks, tables, writer.schema())
    writer.start()
    keys = lambda: [entry["Key"] for entry in suite.s3.objects() if entry["Key"].startswith(prefix + "/")]
    wait_for("objects to land", lambda: writer.running() and len(tables.landed()) >= 2, 30, 0.2)
    tables.query("DETACH TABLE queue")
    seen = len(keys())
    wait_for("objects while nobody reads", lambda: writer.running() and len(keys()) > seen, 30, 0.2)
    tables.query("ATTACH TABLE queue")
    # Another version of the views, while rows flow through them.
    landed = len(tables.landed())
    wait_for("rows to flow again", lambda: writer.running() and len(tables.landed()) > landed, 30, 0.2)
    tables.run("tables.sql")
    checks.equal("deployed: the agent ends with exit code 0", writer.finish(60), 0)
    bucket = judge.Bucket(suite.s3, prefix)
    try:
        wait_for("every object to land", lambda: tables.landed().keys() >= set(bucket.keys), 30, 0.2)
    except Failure as failure:
        print(f"--      {failure}", flush=True)
    checks.equal("deployed: each object landed once, with all its rows, though the queue was restarted and the views were made anew", tables.landed(),
                 bucket.rows)
    checks.section("deployed", check_samples, checks, tables, bucket)
    checks.section("deployed", check_rollups, checks, tables, bucket)
    checks.section("deployed", check_cut_over, checks, tables)
    checks.section("deployed", check_trouble, checks, suite.s3, tables, bucket, prefix)
    checks.section("deployed", check_promotion, checks, suite.s3, tables, bucket, prefix)
    tables.run("remove.sql")
    checks.equal("deployed: nothing is left after remove.sql", tables.query(f"SHOW TABLES FROM {DATABASE}"), [])


def check_columns(checks, tables, printed):
    """The queue has the columns that `agent schema` prints."""
    wanted = re.findall(r"^ *`(\w+)` (.+?)(?: CODEC\(.*\))?,?$", printed, re.MULTILINE)
    found = [(row["name"], row["type"]) for row in tables.query("DESCRIBE TABLE queue")]
    checks.equal("deployed: the queue's columns are those that agent schema prints", found, wanted)


def check_samples(checks, tables, bucket):
    """Samples, series, minutes and the view of all labels say what the objects hold."""
    distinct = {(metric, labels) for metric, labels, _ in bucket.samples}
    checks.equal("deployed: samples FINAL = distinct samples in the objects", tables.number("(SELECT count() FROM samples FINAL)"),
                 len(bucket.samples))
    checks.equal("deployed: series FINAL = distinct series in the objects", tables.number("(SELECT count() FROM series FINAL)"),
                 len(distinct))
    rows = tables.query("SELECT toUnixTimestamp64Milli(timestamp) AS time, metric, labels FROM metrics")
    found = {(row["metric"], tuple(sorted(row["labels"].items())), int(row["time"])) for row in rows}
    checks.equal("deployed: the view has a row for each sample", len(rows), len(bucket.samples))
    checks.none("deployed: the view has every sample with all its labels", {
        (metric, tuple(sorted(dict(labels).items())), time) for metric, labels, time in bucket.samples
    } ^ found)
    checks.equal("deployed: rows in Vector's shape name collector and host",
                 tables.query("SELECT DISTINCT tags['collector'] AS collector, tags['host'] AS host, kind FROM vector_rows"),
                 [{"collector": "judged", "host": "deployed", "kind": "absolute"}])
    rows = tables.query(f"SELECT DISTINCT {OWN} AS own FROM vector_rows WHERE name = 'judged_labels' ORDER BY toString(own)")
    checks.equal("deployed: labels that these tags would hide are there under another name", [row["own"] for row in rows], genuine("deployed"))
    wrong = tables.number("(SELECT countIf(tags['ts'] != toString(toUnixTimestamp(timestamp))) FROM vector_rows)")
    checks.equal("deployed: the tag ts is the second of the row", wrong, 0)


def check_rollups(checks, tables, bucket):
    """Minutes, hours and increases of a counter, and the feed for PromQL, hold what the exporters have counted."""
    tables.query("SYSTEM REFRESH VIEW to_samples_1h")
    tables.query("SYSTEM WAIT VIEW to_samples_1h")
    counter = "WHERE metric = 'suite_answers_total' GROUP BY series_id"
    answers = {}
    for instance, number in bucket.answers:
        answers.setdefault(instance, []).append(number)
    held = sorted((len(numbers), max(numbers)) for numbers in answers.values())
    grown = sorted(max(numbers) - min(numbers) for numbers in answers.values())
    for view in ("minutes", "hours"):
        rows = tables.query(f"SELECT sum(samples) AS samples, max(max) AS last FROM {view} {counter}")
        checks.equal(f"deployed: the {view} hold every sample of a counter",
                     sorted((int(row["samples"]), row["last"]) for row in rows), held)
    for view in ("growth(from = '2026-01-01 00:00:00', to = now() + 60)", "hours"):
        rows = tables.query(f"SELECT sum(increase) AS increase FROM {view} {counter}")
        checks.equal(f"deployed: its increases are what it grew by, says {view.split('(')[0]}",
                     sorted(row["increase"] for row in rows), grown)
    checks.equal("deployed: the feed for PromQL holds every sample once",
                 tables.number("(SELECT count() FROM timeSeriesSamples(prometheus) FINAL)"), len(bucket.samples))
    checks.equal("deployed: and every series", tables.number("(SELECT uniqExact(id) FROM timeSeriesTags(prometheus))"),
                 len({(metric, labels) for metric, labels, _ in bucket.samples}))


def check_cut_over(checks, tables):
    """Old rows until a moment, the agent's from then on, until the next moment."""
    tables.query("CREATE TABLE old_rows ENGINE = MergeTree ORDER BY timestamp AS SELECT name, tags, toDateTime64(timestamp, 9, 'UTC') AS timestamp, "
                 "kind, type, -1. AS value FROM vector_rows")
    moments = tables.query("SELECT arrayMap(time -> toString(toStartOfSecond(time)), quantilesExact(0.25, 0.5, 0.75)(timestamp)) AS cuts "
                           "FROM samples")[0]["cuts"]
    checks.equal("deployed: there are three moments", len(set(moments)), 3)
    for number in range(1, 4):
        cuts = moments[:number]
        tables.run("cut_over.sql", METRICS_OLD_ROWS=f"{DATABASE}.old_rows", METRICS_CUT=", ".join(cuts))
        part = " + ".join(f"(timestamp >= '{cut}')" for cut in cuts)
        found = tables.query(f"SELECT {part} AS part, value = -1 AS of_vector, count() AS rows FROM rows_across GROUP BY ALL ORDER BY ALL")
        expected = tables.query(f"SELECT {part} AS part, part % 2 = 0 AS of_vector, count() AS rows FROM metrics GROUP BY ALL ORDER BY ALL")
        checks.equal(f"deployed: there are rows between all cuts, {number}", len(expected), number + 1)
        checks.equal(f"deployed: across each cut every row is there once, of the old table or of the new, {number}", found, expected)
    tables.query("DROP VIEW rows_across")
    tables.query("DROP TABLE old_rows SYNC")


def check_trouble(checks, s3, tables, bucket, prefix):
    """What does not belong there: an object under a second key, one that the pointer has passed, and files that are none."""
    checks.equal("deployed: check.sql finds nothing to say", tables.run("check.sql"), [[], []])
    source = bucket.keys[len(bucket.keys) // 2]
    data, name = s3.read(source), source.rsplit("/", 1)[1]
    table = pq.read_table(io.BytesIO(data)).drop_columns(["uid"])
    older = io.BytesIO()
    pq.write_table(table, older)
    last = int(bucket.keys[-1].split("/")[-2])
    hidden = f"{prefix}/{last - 3600}/{name}"
    again, truncated, foreign, old = (f"{prefix}/{last + number}/x-{name}" for number in range(1, 5))
    for key, body in ((hidden, data), (again, data), (truncated, data[: len(data) // 2]), (foreign, b"not Parquet"),
                      (old, older.getvalue())):
        s3.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    bad = [truncated, foreign, old]
    wait_for("the queue to look at all of them", lambda: tables.states().keys() >= {again, *bad}, 60, 0.2)
    states = tables.states()
    checks.equal("deployed: a truncated object, a foreign file and one without a column are refused",
                 {key: states[key] for key in bad}, dict.fromkeys(bad, "Failed"))
    checks.equal("deployed: they leave no row", {key for key in tables.landed() if key in bad}, set())
    checks.equal("deployed: the same bytes under a second key add no sample", tables.number("(SELECT count() FROM samples FINAL)"),
                 len(bucket.samples))
    wait_for("the time of the last key to pass", lambda: time.time() > last + 6, 30, 0.2)
    lost, repeated = tables.run("check.sql")
    missing = {judge.name_of(row["lost_object"]) for row in lost}
    checks.that("deployed: check.sql finds the object that the pointer had passed, and those that were refused",
                missing >= {hidden, *bad}, missing)
    checks.equal("deployed: nothing came twice", repeated, [])
    before = tables.number("(SELECT count() FROM landing)")
    tables.run("backfill.sql", METRICS_OBJECTS=f"{last - 3600}/*.parquet")
    checks.equal("deployed: backfill.sql reads the object that the pointer had passed", tables.number("(SELECT count() FROM landing)"),
                 before + bucket.rows[source])
    lost, repeated = tables.run("check.sql")
    checks.equal("deployed: check.sql does not miss it any more, and says that its samples came before",
                 (missing - {judge.name_of(row["lost_object"]) for row in lost}, {row["repeated_object"] for row in repeated}),
                 ({hidden}, {hidden, source}))
    checks.equal("deployed: which adds no sample", tables.number("(SELECT count() FROM samples FINAL)"), len(bucket.samples))
    check_minutes(checks, tables)


def check_minutes(checks, tables):
    """Of samples that landed twice: what of a minute is right all the same, what is not, and that it can be set right."""
    right, counted = "min, max, first, last", "samples, round(avg, 6) AS avg"
    truth = "SELECT metric, series_id, toStartOfMinute(timestamp, 'UTC') AS minute, min(value) AS min, max(value) AS max, " \
            "argMin(value, timestamp) AS first, argMax(value, timestamp) AS last, count() AS samples, avg(value) AS avg " \
            "FROM samples FINAL WHERE isFinite(value) GROUP BY metric, series_id, minute"
    asked = lambda columns, source: tables.query(f"SELECT metric, series_id, minute, {columns} FROM {source} ORDER BY ALL")
    same = lambda columns: asked(columns, "minutes") == asked(columns, f"({truth})")
    landed = tables.number("(SELECT countIf(isFinite(value)) FROM landing)")
    checks.equal("deployed: a sample that landed twice counts twice in its minute", tables.number("(SELECT sum(samples) FROM minutes)"), landed)
    checks.that("deployed: the lowest, highest, first and last of the minute are right", same(right), "they are not")
    checks.that("deployed: their number and average are not", not same(counted), "they are")
    times = tables.query("SELECT toString(toStartOfHour(min(timestamp))) AS begin, toString(toDateTime(max(timestamp)) + 60) AS end FROM samples")[0]
    for turn in ("", ", and again"):
        rows = tables.number("(SELECT count() FROM samples_1m)")
        tables.run("minutes.sql", METRICS_FROM=times["begin"][:19], METRICS_TO=times["end"])
        checks.that(f"deployed: minutes.sql sets them right{turn}", same(f"{right}, {counted}"), "it does not")
    checks.equal("deployed: and then finds nothing more to do", tables.number("(SELECT count() FROM samples_1m)"), rows)
    # The same repetition again, and so the same correction.
    for turn in range(3):
        tables.query(f"INSERT INTO landing (timestamp, metric, type, value, object) VALUES ('{times['begin']}', 'repeated', 'gauge', 7, '0/turn-{turn}')")
        tables.run("minutes.sql", METRICS_FROM=times["begin"][:19], METRICS_TO=times["end"])
        found = tables.number("(SELECT samples FROM minutes WHERE metric = 'repeated')")
        checks.equal(f"deployed: a sample that landed {turn + 1} times is set right", found, 1)


def check_promotion(checks, s3, tables, bucket, prefix):
    """A label gets a column: what comes after is the same series."""
    body = io.BytesIO()
    table = pq.read_table(io.BytesIO(s3.read(bucket.keys[len(bucket.keys) // 2])))
    texts = [dict(labels).get("text", "") for labels in table["labels"].to_pylist()]
    rest = [[pair for pair in labels if pair[0] != "text"] for labels in table["labels"].to_pylist()]
    later = [time + datetime.timedelta(seconds=1) for time in table["timestamp"].to_pylist()]
    for name, values in (("labels", rest), ("timestamp", later)):
        place = table.column_names.index(name)
        table = table.set_column(place, table.field(name), pa.array(values, table.field(name).type))
    pq.write_table(table.append_column("text", pa.array(texts)), body)
    before = tables.number("(SELECT count() FROM series FINAL)")
    last = tables.run("promote.sql", METRICS_LABEL="text")[0][0]["last_processed_path"]
    tables.run("tables.sql", METRICS_PROMOTED="text", METRICS_QUEUE=f"mode = 'ordered', buckets = 1, last_processed_path = '{last}'")
    rows = tables.number("(SELECT count() FROM landing)")
    key = f"{prefix}/{int(time.time()) + 100}/promoted.parquet"
    s3.s3.put_object(Bucket=BUCKET, Key=key, Body=body.getvalue())
    wait_for("the object with the column to land", lambda: key in tables.landed(), 30, 0.2)
    checks.that("deployed: the promoted label has texts", any(texts), texts[:5])
    checks.equal("deployed: after a label was promoted only what is new is read", tables.number("(SELECT count() FROM landing)"),
                 rows + table.num_rows)
    checks.equal("deployed: and its series are those that were", tables.number("(SELECT count() FROM series FINAL)"), before)
