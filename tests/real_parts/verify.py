"""The checks of a finished run: keys, objects, samples, uploads, secrets."""

import itertools
import math
import re
import struct

from prometheus_client.parser import text_string_to_metric_families

from cedana_api import CLUSTER
from delivered import (
    CLICKHOUSE,
    COLUMNS,
    PARQUET,
    ClickHouse,
    DeliveredObject,
    rows_by_time,
    totals_by_duckdb,
    totals_of_rows,
)
from expected import REPORT, bits, differences, samples_of
from s3_server import PREFIX

KEY = re.compile(re.escape(PREFIX) + r"/(\d{10})/([a-z0-9]+)-(\d{10})\.parquet")


def check_keys(checks, listing):
    """The listing is in key order; so must be the uploads, the times and the sequence numbers in the keys."""
    keys = [entry["Key"] for entry in listing]
    checks.that("objects were delivered", bool(keys), "none in the bucket")
    checks.none("every key has the form prefix/unix/writer-sequence.parquet",
                [key for key in keys if not KEY.fullmatch(key)])
    parts = [KEY.fullmatch(key).groups() for key in keys if KEY.fullmatch(key)]
    uploaded = sorted(listing, key=lambda entry: (entry["LastModified"], entry["Key"]))
    checks.equal("keys increase strictly in the order of upload", [entry["Key"] for entry in uploaded], keys)
    checks.equal("one writer wrote them", len({writer for _, writer, _ in parts}), 1)
    numbers = [int(sequence) for _, _, sequence in parts]
    checks.none("sequence numbers increase by one: no object is missing",
                [pair for pair in itertools.pairwise(numbers) if pair[1] != pair[0] + 1])
    late = [entry["Key"] for entry, (unix, _, _) in zip(listing, parts, strict=False)
            if abs(entry["LastModified"].timestamp() - int(unix)) > 60]
    checks.none("the time in a key is that of its upload, within a minute", late)


def check_objects(checks, objects):
    """Schema, statistics of the layout, metadata, order of rows."""
    checks.none("the Parquet types are those of the layout",
                [(o.key, o.leaves) for o in objects if o.leaves != PARQUET])
    checks.none("the columns stand in the order of the layout",
                [(o.key, o.table.column_names) for o in objects if o.table.column_names != COLUMNS])
    checks.none("every column is REQUIRED",
                [(o.key, o.optional, o.nullable, o.nulls) for o in objects if o.optional or o.nullable or o.nulls])
    checks.none("every object is one row group", [o.key for o in objects if o.row_groups != 1])
    wrong = []
    for delivered in objects:
        times = [row[0] for row in delivered.rows()]
        facts = {str(len(times)), str(min(times)), str(max(times)), CLUSTER, *KEY.fullmatch(delivered.key).groups()[1:]}
        facts = {fact.lstrip("0") for fact in facts}
        missing = facts - {value.lstrip("0") for value in delivered.metadata.values()}
        if missing:
            wrong.append((delivered.key, missing, delivered.metadata))
    checks.none("the file's metadata name cluster, writer, sequence, samples, first and last time", wrong)
    scattered = []
    for delivered in objects:
        runs = [key for key, _ in itertools.groupby((metric, kind, labels) for _, metric, kind, labels, _
                                                    in delivered.rows())]
        if len(runs) != len(set(runs)):
            scattered.append(delivered.key)
    checks.none("the rows of a series stand together", scattered)


def check_flushes(checks, objects, phases, interval, max_age):
    """One object per flush: they follow each other without overlap, each as long as `max_age` lets it be."""
    spans = []
    for delivered in objects:
        times = [row[0] / 1000 for row in delivered.rows()]
        spans.append((min(times), max(times), delivered.key))
    spans.sort()
    checks.none("no two objects share a moment", [pair for pair in itertools.pairwise(spans) if pair[0][1] >= pair[1][0]])
    short, most = [], 0
    for began, ended in phases:
        mine = [span for span in spans if began <= span[0] <= ended]
        most += math.ceil((ended - began) / max_age) + 1
        short += [span for span in mine[:-1] if span[1] - span[0] < max_age - 2 * interval]
    checks.none("every object but a phase's last is as long as a flush", short)
    checks.that("no more objects than flushes", len(objects) <= most, f"{len(objects)} objects, {most} flushes")


def check_readers(checks, s3, objects, raw):
    """pyarrow, DuckDB and ClickHouse read the same."""
    clickhouse = ClickHouse(s3)
    checks.equal("ClickHouse sees the types of the layout", clickhouse.schema(), CLICKHOUSE)
    by_pyarrow = totals_of_rows(row for delivered in objects for row in delivered.rows())
    by_clickhouse = clickhouse.totals()
    checks.none("pyarrow and ClickHouse agree on rows, times, series, and each metric's count, sum and bits",
                by_pyarrow.differences(by_clickhouse))
    checks.none("pyarrow and DuckDB agree on the same", by_pyarrow.differences(totals_by_duckdb(raw)))
    return by_pyarrow


def check_samples(checks, objects, bodies, target):
    """Every served sample is delivered exactly once with its value, and nothing else is, besides the reports."""
    target = {**target, "cluster_id": CLUSTER}
    found, repeated = rows_by_time(objects)
    checks.none("no row is there twice", repeated)
    bodies = sorted(bodies, key=lambda body: body.started)
    times = sorted(found)
    if not checks.equal("as many scrapes were delivered as bodies served", len(times), len(bodies)):
        return 0
    far = [(time, body.started) for time, body in zip(times, bodies, strict=True)
           if not body.started - 2 < time / 1000 < body.finished + 0.05]
    checks.none("a scrape's time is that of its request", far)
    wrong, reports, served, sums = [], [], 0, {}
    for time, body in zip(times, bodies, strict=True):
        expected = samples_of(body.text(), target)
        scraped = {key: value for key, value in found[time].items() if key[0] not in REPORT}
        wrong += [(time, *difference) for difference in differences(expected, scraped)]
        reports += [(time, *wrong) for wrong in wrong_reports(found[time], expected, body, target)]
        served += len(expected)
        add_sums(sums, expected, 1)
        add_sums(sums, scraped, -1)
    checks.that("the exporter served samples", served > 0, "none")
    checks.none("every served sample is there once with its value and type, and nothing else", wrong)
    checks.none("sums per metric are those of what was served", [(metric, count, total / 2**1074) for metric, (count, total) in sums.items() if count or total])
    checks.none("each scrape has its report series, with true values", reports)
    return served


def add_sums(sums, samples, sign):
    """Adds (or takes away) count and exact sum of the finite values of each metric."""
    for (metric, _, _), value in samples.items():
        count, total = sums.get(metric, (0, 0))
        number = math.nan if value == "NaN" else struct.unpack("<d", struct.pack("<Q", value))[0]
        exact = as_integer(number) if math.isfinite(number) else 0
        sums[metric] = (count + sign, total + sign * exact)


def as_integer(number):
    """A double as a multiple of the smallest one, 2^-1074: sums of these are exact."""
    numerator, denominator = number.as_integer_ratio()
    return numerator * (2**1074 // denominator)


def wrong_reports(rows, expected, body, target):
    """Report series of one scrape that are missing, repeated or untrue."""
    found = {}
    for (metric, _, labels), value in rows.items():
        if metric in REPORT:
            found[metric] = value if labels == tuple(sorted(target.items())) else f"other labels: {labels}"
    known = {
        "up": bits(1.0),
        "scrape_samples_scraped": bits(float(len(expected))),
        "scrape_samples_post_metric_relabeling": bits(float(len(expected))),
        "scrape_body_size_bytes": bits(float(body.size)),
    }
    wrong = [(metric, found.get(metric), value) for metric, value in known.items() if found.get(metric) != value]
    return wrong + [(metric, "missing") for metric in REPORT - found.keys()]


def check_ledger(checks, phase, target):
    """The agent's own counters tell what it was served, and that it dropped nothing."""
    own = {}
    for family in text_string_to_metric_families(phase.metrics):
        for sample in family.samples:
            own[sample.name] = own.get(sample.name, 0) + sample.value
    served = sum(len(samples_of(body.text(), target)) for body in phase.bodies)
    known = {
        "agent_samples_scraped_total": served,
        "agent_samples_reported_total": len(phase.bodies) * len(REPORT),
        "agent_lines_bad_total": 0,
        "agent_samples_dropped_total": 0,
        "agent_spool_dropped_samples_total": 0,
        "agent_spool_write_errors_total": 0,
    }
    checks.equal(f"{phase.name}: the agent's counters say what was served, and nothing dropped",
                 {name: own.get(name, "no such metric") for name in known}, known)


def check_uploads(checks, puts, cedana, listing, revocations):
    """What the S3 server saw: conditional PUTs, one at a time, with keys that rotated and were revoked."""
    mine = [put for put in puts if put.key.startswith(PREFIX + "/") and not put.key.endswith("/suite")]
    checks.none("every PUT carries If-None-Match: *", [put.key for put in mine if put.headers.get("if-none-match") != "*"])
    checks.none("every PUT carries a checksum",
                [put.key for put in mine if not any(name.startswith("x-amz-checksum-") for name in put.headers)])
    mine.sort(key=lambda put: put.began)
    checks.none("never were two PUTs in flight", [(a.key, b.key) for a, b in itertools.pairwise(mine) if b.began < a.ended])
    checks.equal("each object was taken once", sorted(put.key for put in mine if put.status == 200),
                 [entry["Key"] for entry in listing])
    checks.none("PUTs go only below the prefix, and nothing but objects",
                [put.key for put in puts if not KEY.fullmatch(put.key) and not put.key.endswith("/suite")])
    refused = [put for put in mine if put.status == 403]
    checks.that("revoked keys were refused by the S3 server", len(refused) >= revocations,
                f"{len(refused)} refusals, {revocations} revocations")
    checks.none("an object refused for its credentials was taken with new ones",
                [put.key for put in refused if put.key not in {p.key for p in mine if p.status == 200}])
    checks.none("no PUT failed for another reason", [(p.key, p.status) for p in mine if p.status not in (200, 403)])
    checks.none("the API refused nothing", cedana.refused)


def check_rotation(checks, puts, cedana, phases):
    """Credentials are renewed in time, and every set comes from the API."""
    issued = {keys["AccessKeyId"]: keys for keys in cedana.issued}
    mine = [put for put in puts if KEY.fullmatch(put.key)]
    used = {put.access_key for put in mine if put.status == 200}
    checks.that("credentials rotated twice at least, each set was used", len(used) >= 3,
                lambda: f"{len(used)} sets were used, {len(issued)} were issued")
    checks.none("the agent used only keys that the API gave it", {put.access_key for put in mine} - issued.keys())
    checks.none("no PUT was signed with keys past their expiration",
                [(put.key, put.access_key) for put in mine
                 if put.access_key in issued and put.began > issued[put.access_key]["expires"]])
    # Three quarters of the life, and time for the requests themselves.
    most = cedana.lifetime * 0.75 + 2
    late = []
    for began, ended in phases:
        asked = [keys["asked"] for keys in cedana.issued if began <= keys["asked"] <= ended]
        late += [(a - began, b - began) for a, b in itertools.pairwise([began, *asked]) if b - a > most]
        if not asked or ended - asked[-1] > most + 5:
            late.append(("no renewal before the end", ended - began))
    checks.none("new keys were asked for by three quarters of the old ones' life", late)


def check_secrets(checks, secrets, places):
    """No secret in anything the agent printed, served or wrote. `places`: name and text or bytes of each."""
    found = []
    for name, content in places:
        raw = content.encode() if isinstance(content, str) else content
        found += [name for secret in secrets if secret.encode() in raw]
    checks.none("no secret is in the agent's output, pages, spool or objects", found)


def read_objects(checks, s3, listing):
    """All objects through pyarrow, and the bytes of each key."""
    raw = {entry["Key"]: s3.read(entry["Key"]) for entry in listing}
    objects, unreadable = [], []
    for key, data in raw.items():
        try:
            objects.append(DeliveredObject(key, data))
        except Exception as error:  # whatever the reader says of a broken file
            unreadable.append((key, str(error)))
    checks.none("pyarrow reads every object", unreadable)
    return objects, raw
