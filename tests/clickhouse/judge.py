"""The judgement: what the exporters answered, what lies in the bucket, and what the tables hold are the same."""

import math

from delivered import DeliveredObject
from exporters import SERIES
from processes import Failure, wait_for
from s3_server import BUCKET

# Seconds between the moment at which a scrape was due and an answer that came too late for it: `scrape_timeout`, and what a
# machine that stands still adds.
GIVEN_UP = 3


class Bucket:
    """All objects below a prefix as pyarrow reads them, without ClickHouse."""

    def __init__(self, s3, prefix):
        self.keys = sorted(entry["Key"] for entry in s3.objects() if entry["Key"].startswith(prefix + "/"))
        # key -> rows
        self.rows = {}
        # (metric, series, timestamp) -> times that it is there
        self.samples = {}
        # (instance, number of the answer) -> {timestamp: rows}
        self.answers = {}
        # instance -> seconds at which scrapes were due that failed, as `up 0` says
        self.failed = {}
        for key in self.keys:
            rows = list(DeliveredObject(key, s3.read(key)).rows())
            self.rows[key] = len(rows)
            for time, metric, _, labels, value in rows:
                sample = (metric, labels, time)
                self.samples[sample] = self.samples.get(sample, 0) + 1
                if metric == "up" and value == 0:
                    self.failed.setdefault(dict(labels)["instance"], []).append(time / 1000)
                if metric.startswith("suite_") and math.isfinite(value):
                    times = self.answers.setdefault((dict(labels)["instance"], int(value)), {})
                    times[time] = times.get(time, 0) + 1

    def repeated(self):
        """Samples that are in the bucket more than once."""
        return [sample for sample, times in self.samples.items() if times != 1]

    def torn(self):
        """Answers that are not there whole and once."""
        return [(answer, times) for answer, times in self.answers.items() if list(times.values()) != [SERIES]]


def settle(tables, keys, seconds=30):
    """Waits until the queue has read all these keys, or no longer: which ones it has not is for `unread` to say."""
    try:
        wait_for("the queue to read every object", lambda: not unread(tables, keys), seconds, 0.2)
        wait_for("the queue's log", lambda: set(keys) <= {name_of(file) for file in tables.log()}, 10, 0.2)
    except Failure as failure:
        print(f"--      {failure}", flush=True)


def unread(tables, keys):
    """Keys of which the queue has read no row."""
    return sorted(set(keys) - {name_of(file) for file in tables.arrivals()})


def name_of(path):
    """The key of a path as the engine writes it, with the bucket or without."""
    return path.removeprefix(f"{BUCKET}/")


def miscounted(tables, bucket):
    """Objects of which the queue has read more or fewer rows than they hold: twice, or in part."""
    arrived = {name_of(file): rows for file, rows in tables.arrivals().items()}
    return [(key, arrived[key], rows) for key, rows in bucket.rows.items() if arrived.get(key, rows) != rows]


def check_queue(checks, tables, bucket, who):
    """Every object was read, once, and no other."""
    checks.that(f"{who}: objects were delivered", len(bucket.keys) > 3, f"{len(bucket.keys)} objects")
    checks.none(f"{who}: the queue skipped no object", unread(tables, bucket.keys))
    checks.none(f"{who}: the queue read each object once, with all its rows", miscounted(tables, bucket))
    checks.none(f"{who}: the queue read nothing else", {name_of(file) for file in tables.arrivals()} - set(bucket.keys))
    log = {name_of(file): states for file, states in tables.log().items()}
    checks.equal(f"{who}: the queue's log has each object once, as processed", log, {key: ["Processed"] for key in bucket.keys})


def check_tables(checks, tables, bucket, who):
    """Rows FINAL = distinct (series, timestamp) in the objects, and every column of every row arrived as it was."""
    checks.none(f"{who}: no sample is in the bucket twice", bucket.repeated())
    checks.equal(f"{who}: rows FINAL = distinct (series, timestamp) in the objects", tables.count("samples", final=True),
                 len(bucket.samples))
    checks.equal(f"{who}: rows landed = rows in the objects: nothing needed replacing", tables.count("landing"),
                 sum(bucket.rows.values()))
    landing, objects = tables.landing_and_objects()
    checks.equal(f"{who}: every column of every row landed as it was shipped", landing, objects)


def given_up(lost, bucket):
    """Of answers `{(instance, number): moment}` that are not there, those whose scrape the agent had given up and reported as
    failed: each has an `up 0` of its own, of a scrape that was due shortly before it."""
    found = set()
    for instance, due in bucket.failed.items():
        left = sorted((moment, number) for (address, number), moment in lost.items() if address == instance)
        for time in sorted(due):
            late = next((one for one in left if 0 <= one[0] - time <= GIVEN_UP), None)
            if late:
                left.remove(late)
                found.add((instance, late[1]))
    return found


def check_answers(checks, writers, bucket, who):
    """Distinct (series, timestamp) answered by exporters = those delivered, but for what a kill may cost, and for scrapes that
    are delivered as failed."""
    answered, excused = {}, set()
    for writer in writers:
        all_of_it, may_be_lost = writer.answered()
        answered |= all_of_it
        excused |= may_be_lost
    delivered = bucket.answers.keys()
    lost = {answer: moment for answer, moment in answered.items() if answer not in delivered}
    late = given_up({answer: moment for answer, moment in lost.items() if answer not in excused}, bucket)
    checks.none(f"{who}: every answer is delivered, but for those that were not on disk at a kill, or are delivered as failed",
                sorted(lost.keys() - excused - late))
    checks.none(f"{who}: nothing is delivered that was not answered", sorted(delivered - answered.keys()))
    checks.none(f"{who}: each answer is delivered whole, once, at one time", bucket.torn())
    kills = sum(len(writer.kills) for writer in writers)
    print(f"--      {who}: {len(answered)} answers of {SERIES} series, {len(lost) - len(late)} lost at {kills} kills, {len(late)} came too "
          f"late and are delivered as failed; "
          f"{len(bucket.keys)} objects, {len(bucket.samples)} samples", flush=True)
