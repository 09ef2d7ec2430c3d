"""One writer, one pointer: killed again and again, cut off from S3 again and again, nothing hidden from the queue."""

import random
import time

import judge
from processes import wait_for
from s3_server import BUCKET, PREFIX
from tables import Tables
from writer import Writer

SUFFIX = "ordered"
# What happens, over and over: a fault, its seconds (`None`: until it has met a PUT), and whether the agent is killed in it.
TROUBLES = (
    ("pass", 3, True),
    ("lose", None, True),
    ("pass", 2, False),
    ("cut", 5, False),
    ("pass", 3, False),
    ("tear", None, True),
    ("silence", 4, True),
    ("pass", 3, False),
    ("lose", None, False),
    ("cut", 3, True),
    ("pass", 3, True),
)


def check(suite):
    """Runs the scenario and judges it."""
    checks, who = suite.checks, "ordered"
    writer = Writer(suite, who, SUFFIX)
    suite.closing.append(writer.close)
    prefix = f"{PREFIX}/{SUFFIX}"
    tables = Tables(suite.engine, suite.s3, who, prefix, writer.schema())
    writer.start()
    trouble(suite, writer)
    writer.road.mode = "pass"
    checks.equal(f"{who}: the agent ends with exit code 0", writer.finish(60), 0)
    checks.equal(f"{who}: the agent counted nothing as dropped", writer.dropped, {})
    checks.none(f"{who}: nothing is left in the spool", writer.left())
    hit = writer.road.hit
    checks.that(f"{who}: answers were lost, bodies torn, PUTs met silence", hit["lose"] and hit["tear"] and hit["silence"], hit)
    checks.that(f"{who}: objects whose answers were lost were found delivered", writer.confirmed_late, "none was")
    checks.that(f"{who}: the open batch outlived a kill", writer.replayed, "no sample was taken from the journal")
    checks.that(f"{who}: the agent was killed", len(writer.kills) >= 4, f"{len(writer.kills)} times")
    print(f"--      {who}: {len(writer.kills)} kills; PUTs {hit}; {writer.confirmed_late:.0f} objects found delivered; "
          f"{writer.replayed:.0f} samples from the journal", flush=True)
    bucket = judge.Bucket(suite.s3, prefix)
    judge.settle(tables, bucket.keys)
    checks.section(who, judge.check_queue, checks, tables, bucket, who)
    checks.section(who, judge.check_tables, checks, tables, bucket, who)
    checks.section(who, judge.check_answers, checks, [writer], bucket, who)
    checks.section(who, check_judge, checks, suite.s3, tables, bucket, prefix)


def trouble(suite, writer):
    """Faults and kills until the time is over."""
    chance = random.Random(suite.options.seed)
    deadline = time.monotonic() + suite.options.seconds
    turn = 0
    while time.monotonic() < deadline or turn < len(TROUBLES):
        mode, seconds, kill = TROUBLES[turn % len(TROUBLES)]
        turn += 1
        before = writer.road.hit[mode]
        writer.road.mode = mode
        if seconds is None:
            wait_for(f"a PUT to meet {mode}", lambda: writer.running() and writer.road.hit[mode] > before, 30, 0.005)
        else:
            until = time.monotonic() + seconds * chance.uniform(0.5, 1.2)
            wait_for("the next trouble", lambda: writer.running() and time.monotonic() > until, 60, 0.01)
        if kill:
            writer.kill()
            writer.start()


def check_judge(checks, s3, tables, bucket, prefix):
    """The judge can find fault: an object below the pointer is never read, and bytes under a second key are read again."""
    source = bucket.keys[len(bucket.keys) // 2]
    name = source.rsplit("/", 1)[1]
    hidden, again = f"{prefix}/0000000001/{name}", f"{prefix}/9999999999/{name}"
    for key in (hidden, again):
        s3.s3.copy_object(Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": source})
    # The listing is read in order: whoever has read the last key has passed the first.
    judge.settle(tables, [again])
    spoilt = judge.Bucket(s3, prefix)
    checks.equal("the judge notices a key below the pointer", judge.unread(tables, spoilt.keys), [hidden])
    checks.that("the judge notices samples that are in the bucket twice", len(spoilt.repeated()) == bucket.rows[source],
                f"{len(spoilt.repeated())}, expected {bucket.rows[source]}")
    checks.equal("the judge notices that the table holds them twice", tables.count("landing"),
                 sum(bucket.rows.values()) + bucket.rows[source])
    checks.equal("rows FINAL are the same all the same", tables.count("samples", final=True), len(bucket.samples))
