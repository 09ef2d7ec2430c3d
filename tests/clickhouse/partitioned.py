"""Three writers below one prefix: a queue with a pointer for each, made as `agent schema` prints it, loses none of any. The tables
of deploy/clickhouse on such a queue, restarted meanwhile, hold every sample once, with duplicates and a late object too."""

import time

import judge
from deployed import Deployed
from processes import wait_for
from s3_server import BUCKET, PREFIX
from tables import PLAIN, Tables, queue_settings
from writer import Writer

SUFFIX = "partitioned"
WRITERS = ("w0", "w1", "w2")


def check(suite):
    """Runs the scenario and judges it."""
    checks, who = suite.checks, "partitioned"
    writers = [Writer(suite, f"writer-{name}", SUFFIX, name, "partitioned") for name in WRITERS]
    suite.closing.extend(writer.close for writer in writers)
    prefix = f"{PREFIX}/{SUFFIX}"
    printed = writers[0].schema()
    tables = Tables(suite.engine, suite.s3, who, prefix, printed, queue_settings(printed))
    plain = Tables(suite.engine, suite.s3, "one_pointer", prefix, printed, PLAIN)
    deployed = Deployed(suite, "of_three", SUFFIX)
    deployed.run("tables.sql", METRICS_QUEUE=queue_settings(printed))
    for writer in writers:
        writer.start()
    # A writer without a past lists the prefix first.
    wait_for("all to begin", lambda: all(writer.running() and writer.road.hit["pass"] for writer in writers), 30)
    trouble(*writers, restart=lambda: [deployed.query(f"{verb} TABLE queue") for verb in ("DETACH", "ATTACH")])
    for writer in writers:
        checks.equal(f"{who}: {writer.name} ends with exit code 0", writer.finish(60), 0)
        checks.none(f"{who}: {writer.name} leaves nothing in its spool", writer.left())
        checks.equal(f"{who}: {writer.name} counted nothing as dropped", writer.dropped, {})
    bucket = judge.Bucket(suite.s3, prefix)
    judge.settle(tables, bucket.keys)
    checks.equal(f"{who}: all wrote", sorted({key.rsplit("/", 1)[1].split("-")[0] for key in bucket.keys}), list(WRITERS))
    checks.section(who, judge.check_queue, checks, tables, bucket, who)
    checks.section(who, judge.check_tables, checks, tables, bucket, who)
    checks.section(who, judge.check_answers, checks, writers, bucket, who)
    checks.section(who, check_deployed, checks, suite.s3, deployed, bucket, prefix)
    # What makes the scenario worth something: here the table of one writer is not enough.
    hidden = judge.unread(plain, bucket.keys)
    checks.that(f"{who}: one pointer for all would have hidden objects", hidden, "none hidden")
    print(f"--      {who}: one pointer would have hidden {len(hidden)} of {len(bucket.keys)} objects", flush=True)


def check_deployed(checks, s3, deployed, bucket, prefix):
    """The deployed tables, with the same bytes under a second key, and an object that comes after a later one of its writer."""
    who = "partitioned"
    wait_for("every object to land", lambda: deployed.landed().keys() >= set(bucket.keys), 30, 0.2)
    checks.equal(f"{who}: each object landed once, though the queue was restarted", deployed.landed(), bucket.rows)
    source = next(key for key in reversed(bucket.keys) if "/w1-" in key)
    last = int(bucket.keys[-1].split("/")[-2])
    again = f"{prefix}/{last + 60}/w2-9999999999.parquet"
    late = f"{prefix}/{last - 3600}/w1-0000000001.parquet"
    for key in (again, late):
        s3.s3.copy_object(Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": source})
    wait_for("the queue to look at the second key", lambda: deployed.states().keys() >= {again}, 60, 0.2)
    checks.equal(f"{who}: samples FINAL = distinct samples shipped, with the same bytes under a second key",
                 deployed.number("(SELECT count() FROM samples FINAL)"), len(bucket.samples))
    lost = {judge.name_of(row["lost_object"]) for row in deployed.run("check.sql")[0]}
    checks.equal(f"{who}: check.sql finds the object that came late", lost - {again}, {late})
    deployed.run("backfill.sql", METRICS_OBJECTS=f"{last - 3600}/*.parquet")
    checks.equal(f"{who}: and after backfill.sql none but the second key, if that",
                 {judge.name_of(row["lost_object"]) for row in deployed.run("check.sql")[0]} - {again}, set())
    checks.equal(f"{who}: and every sample is there once", deployed.number("(SELECT count() FROM samples FINAL)"), len(bucket.samples))
    deployed.run("remove.sql")


def trouble(first, second, third, restart):
    """Each is held up in the middle of an upload, whose key is given by then, while the next goes on; one is killed, and the queue
    is restarted while it is away."""
    for held, other in ((first, second), (second, third), (third, first)):
        held.road.mode = "silence"
        met = held.road.hit["silence"]
        wait_for("a PUT to be held up", lambda: held.running() and held.road.hit["silence"] > met, 30, 0.01)
        past = other.road.hit["pass"]
        wait_for("the other to go on", lambda: other.running() and other.road.hit["pass"] >= past + 2, 30, 0.01)
        if held is second:
            held.kill()
            restart()
        held.road.mode = "pass"
        if held is second:
            held.start()
        past = held.road.hit["pass"]
        wait_for("it to catch up", lambda: held.running() and held.road.hit["pass"] > past, 60, 0.01)
        time.sleep(0.5)
