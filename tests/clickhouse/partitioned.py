"""Two writers below one prefix: a queue with a pointer for each, made as `agent schema` prints it, loses none of either."""

import time

import judge
from processes import wait_for
from s3_server import PREFIX
from tables import PLAIN, Tables, queue_settings
from writer import Writer

SUFFIX = "partitioned"


def check(suite):
    """Runs the scenario and judges it."""
    checks, who = suite.checks, "partitioned"
    writers = [Writer(suite, f"writer-{name}", SUFFIX, name, "partitioned") for name in ("w0", "w1")]
    suite.closing.extend(writer.close for writer in writers)
    prefix = f"{PREFIX}/{SUFFIX}"
    printed = writers[0].schema()
    tables = Tables(suite.engine, suite.s3, who, prefix, printed, queue_settings(printed))
    plain = Tables(suite.engine, suite.s3, "one_pointer", prefix, printed, PLAIN)
    for writer in writers:
        writer.start()
    # A writer without a past lists the prefix first.
    wait_for("both to begin", lambda: all(writer.running() and writer.road.hit["pass"] for writer in writers), 30)
    trouble(*writers)
    for writer in writers:
        checks.equal(f"{who}: {writer.name} ends with exit code 0", writer.finish(60), 0)
        checks.none(f"{who}: {writer.name} leaves nothing in its spool", writer.left())
        checks.equal(f"{who}: {writer.name} counted nothing as dropped", writer.dropped, {})
    bucket = judge.Bucket(suite.s3, prefix)
    judge.settle(tables, bucket.keys)
    checks.equal(f"{who}: both wrote", sorted({key.rsplit("/", 1)[1].split("-")[0] for key in bucket.keys}), ["w0", "w1"])
    checks.section(who, judge.check_queue, checks, tables, bucket, who)
    checks.section(who, judge.check_tables, checks, tables, bucket, who)
    checks.section(who, judge.check_answers, checks, writers, bucket, who)
    # What makes the scenario worth something: here the table of one writer is not enough.
    hidden = judge.unread(plain, bucket.keys)
    checks.that(f"{who}: one pointer for both would have hidden objects", hidden, "none hidden")
    print(f"--      {who}: one pointer would have hidden {len(hidden)} of {len(bucket.keys)} objects", flush=True)


def trouble(first, second):
    """Each is held up in the middle of an upload, whose key is given by then, while the other goes on; one is killed."""
    for held, other in ((first, second), (second, first), (first, second)):
        held.road.mode = "silence"
        met = held.road.hit["silence"]
        wait_for("a PUT to be held up", lambda: held.running() and held.road.hit["silence"] > met, 30, 0.01)
        past = other.road.hit["pass"]
        wait_for("the other to go on", lambda: other.running() and other.road.hit["pass"] >= past + 2, 30, 0.01)
        if held is second:
            held.kill()
        held.road.mode = "pass"
        if held is second:
            held.start()
        past = held.road.hit["pass"]
        wait_for("it to catch up", lambda: held.running() and held.road.hit["pass"] > past, 60, 0.01)
        time.sleep(0.5)
