"""The network and the servers in their bad hour: every fault of the proxy, once by a script and then at random, for small and
large objects, and the same for the credential API."""

import json
import time

import proxy
from processes import http_get, wait_for
from proxy import Fault, answer, delay, refuse, slow
from world import World

# What may be done to a PUT; each is followed by an attempt that succeeds, with the same key and the same bytes.
S3_FAULTS = [
    refuse(500, "InternalError"), refuse(503, "SlowDown"), refuse(503, "ServiceUnavailable"), refuse(400, "ExpiredToken"),
    refuse(403, "AccessDenied"), refuse(403, "RequestTimeTooSkewed"), refuse(409, "ConditionalRequestConflict"),
    refuse(400, "RequestTimeout"), delay(0.5), slow(0.5), proxy.CUT_REQUEST, proxy.CUT_PART, proxy.TRUNCATE,
    proxy.CUT_BODY, proxy.LATE, proxy.LOSE_ANSWER, proxy.CUT_ANSWER, proxy.STORED_500, proxy.STALL,
]
# Several in a row, for one object.
ROWS = [
    [proxy.LOSE_ANSWER, proxy.LOSE_ANSWER], [proxy.CUT_PART, proxy.LATE], [refuse(503, "SlowDown"), proxy.LOSE_ANSWER],
    [proxy.LATE, refuse(400, "ExpiredToken"), refuse(500, "InternalError")],
]
# What happens on the way of a large object.
LARGE_FAULTS = [proxy.CUT_PART, proxy.TRUNCATE, proxy.CUT_BODY, proxy.LATE, proxy.LOSE_ANSWER, proxy.STORED_500, refuse(503, "SlowDown")]
EMPTY_KEYS = json.dumps({
    "access_key_id": "", "secret_access_key": "", "session_token": "", "expiration": "2099-01-01T00:00:00Z",
    "bucket": "", "prefix": "", "region": "",
})
API_FAULTS = [
    Fault("refuse", "error", 500, "{}"), proxy.CUT_REQUEST, proxy.CUT_BODY, proxy.LOSE_ANSWER, proxy.CUT_ANSWER,
    answer(200, EMPTY_KEYS), answer(200, "not JSON"), answer(200, json.dumps({"access_key_id": "x" * (4 << 20)})),
    answer(401, "{}"), answer(429, "{}"), slow(1),
]


def check(suite):
    """All cases beside each other."""
    cases = [("scripted", scripted), ("large", large), ("random", at_random), ("credentials", credentials),
             ("conflict", conflict), ("unconditional", unconditional)]
    suite.beside([(f"network-{name}", lambda case=case, name=name: case(suite, f"network-{name}"))
                  for name, case in cases if suite.wanted(f"network-{name}")])


def scripted(suite, name, faults=None, **shape):
    """One fault after the other."""
    rows = [[fault] for fault in faults] if faults else [[fault] for fault in S3_FAULTS] + ROWS
    suite.random(name).shuffle(rows)
    faults = [fault for row in rows for fault in row]
    world = World(suite, name, **shape)
    # After each row one attempt succeeds, or the waits would double on and on.
    left = world.s3_proxy.script([None, *(fault for row in rows for fault in (*row, None))])
    world.start()
    wait_for(f"{name}: every fault to be met", lambda: left() == 0, 150)
    world.s3_proxy.plan = lambda request: None
    world.finish(suite.checks)
    world.check_uploads(suite.checks)
    met = [put.fault for put in world.s3_proxy.puts() if put.fault]
    suite.checks.equal(f"{name}: every fault was met once", sorted(map(repr, met)), sorted(map(repr, faults)))
    suite.say(f"{name}: {len(world.s3_proxy.puts())} PUTs, {len(met)} faults, sizes up to {max(p.size for p in world.s3_proxy.puts())} B")
    return world


def large(suite, name):
    """Objects of more than a mebibyte."""
    world = scripted(suite, name, LARGE_FAULTS, targets=1, series=0, wide=30_000, interval="1s", max_age="6s")
    suite.checks.that(f"{name}: objects exceed a mebibyte", max(put.size for put in world.s3_proxy.puts()) > 1 << 20)


def at_random(suite, name):
    """Anything at any request of both servers, for a while."""
    chance = suite.random(name)
    world = World(suite, name, lifetime=8)
    plans = {"s3": S3_FAULTS, "cedana": API_FAULTS}

    def plan(faults):
        return lambda request: chance.choice(faults) if chance.random() < 0.4 else None

    world.s3_proxy.plan = plan(plans["s3"])
    world.cedana_proxy.plan = plan(plans["cedana"])
    world.start()
    time.sleep(40 if not suite.long else 300)
    world.s3_proxy.plan = world.cedana_proxy.plan = lambda request: None
    world.finish(suite.checks)
    world.check_uploads(suite.checks)
    requests = [*world.s3_proxy.log, *world.cedana_proxy.log]
    suite.say(f"{name}: {len(requests)} requests, {sum(1 for request in requests if request.fault)} with a fault")


def credentials(suite, name):
    """The credential API fails in every way, and after each failure once not."""
    world = World(suite, name, lifetime=4)
    faults = list(API_FAULTS)
    suite.random(name).shuffle(faults)
    script = [part for fault in faults for part in (fault, None)]
    left = world.cedana_proxy.script(script, of=lambda request: True)
    world.start()
    wait_for(f"{name}: every fault to be met", lambda: left() == 0, 150)
    url = world.life().url()
    wait_for(f"{name}: the agent to be ready again", lambda: http_get(f"{url}/readyz")[0] == 200, 15)
    seconds = time.time() - world.life().began
    world.finish(suite.checks)
    refused = [put for put in world.s3_proxy.puts() if put.told in (400, 401, 403)]
    suite.checks.none(f"{name}: no answer without keys was ever used", refused)
    asked = len(world.cedana_proxy.log)
    # A refresh every three seconds, and one more after each fault.
    suite.checks.that(f"{name}: the API is not asked in a storm", asked < len(faults) + seconds / 2 + 5, f"{asked} times in {seconds:.0f} s")


def conflict(suite, name):
    """412 on a first attempt: another writer has this id. The upload stops and says so, scraping goes on, nothing is lost; an
    id of its own lets everything go."""
    world = World(suite, name)
    world.start()
    world.delivered(3)
    world.s3_proxy.script([refuse(412, "PreconditionFailed")])
    life = world.life()
    wait_for(f"{name}: the upload to stop", lambda: life.metric("agent_upload_stopped") == 1, 20)
    status, why = http_get(f"{life.url()}/readyz")
    suite.checks.that(f"{name}: /readyz says that another writer has the id", status == 503 and "another writer" in why, why)
    puts = len(world.s3_proxy.puts())
    world.scrapes(20)
    suite.checks.equal(f"{name}: nothing more is sent", len(world.s3_proxy.puts()), puts)
    suite.checks.that(f"{name}: the spool keeps what comes", life.metric("agent_spool_objects") > 2)
    code = life.terminate()
    suite.checks.equal(f"{name}: SIGTERM ends it with exit code 0", code, 0)
    world.configure(sink="    writer: another")
    world.finish(suite.checks)


def unconditional(suite, name):
    """A store without conditional writes: said once, and then the same key with the same bytes, whatever became of it."""
    world = World(suite, name)
    chance = suite.random(name)
    faults, met = [proxy.LOSE_ANSWER, proxy.CUT_PART, proxy.STORED_500], []

    def plan(request):
        if request.is_put() and request.conditional:
            return refuse(501, "NotImplemented")
        # Never two in a row: waits double.
        met.append(request.is_put() and chance.random() < 0.6 and not (met and met[-1]))
        return chance.choice(faults) if met[-1] else None

    world.s3_proxy.plan = plan
    world.start()
    world.delivered(12, 120)
    text = world.life().output()
    suite.checks.that(f"{name}: it is said that the store knows no conditional writes", "conditional writes" in text)
    world.s3_proxy.plan = lambda request: refuse(501, "NotImplemented") if request.is_put() and request.conditional else None
    world.finish(suite.checks)
    world.check_uploads(suite.checks)
