"""S3 away while objects pile up, and the way back: few attempts while it is away, then oldest first, one at a time, as fast as
one PUT in flight allows; scraping goes on all the while."""

import time

from processes import wait_for
from proxy import delay
from world import World

# How long S3 is away in the short form, and how many attempts that may take. Full jitter with ceilings of 1, 2, 4, ... 60 s
# makes about 7 in a minute; more than 25 come once in millions of runs.
AWAY_SECONDS = 60
ATTEMPTS_MAX = 25
# What one PUT takes when S3 is back, and what may come on top of it for an object.
PUT_SECONDS = 0.1
# The long form: a day's objects, and the time to deliver them.
DAY, DAY_SECONDS = 5760, 20 * 60


def check(suite):
    """The short form; the long one with a day's backlog."""
    if suite.wanted("outage-minute"):
        minute(suite, "outage-minute")
    if suite.long and suite.wanted("outage-day"):
        day(suite, "outage-day")


def minute(suite, name):
    """A minute without S3."""
    world = World(suite, name, targets=4, series=5, max_age="400ms")
    life = world.start()
    world.delivered(3)
    world.unavailable()
    before, began = len(world.s3_proxy.log), time.monotonic()
    scraped = world.exporters.answered()
    time.sleep(AWAY_SECONDS)
    attempts = len(world.s3_proxy.log) - before
    suite.checks.that(f"{name}: few attempts in {AWAY_SECONDS} s without S3", 2 <= attempts <= ATTEMPTS_MAX, f"{attempts} attempts")
    waits = life.metrics()
    age = waits.get("agent_spool_oldest_age_seconds", 0)
    suite.checks.that(f"{name}: the age of the oldest object is that of the outage", age > AWAY_SECONDS - 12, f"{age} s")
    scraped = world.exporters.answered() - scraped
    suite.checks.that(f"{name}: scraping went on meanwhile", scraped > AWAY_SECONDS * 3, f"{scraped} scrapes")
    world.available(lambda request: delay(PUT_SECONDS) if request.is_put() else None)
    back = time.monotonic()
    world.delivered(1, 90)
    first = time.monotonic()
    piled, scraped = int(life.metric("agent_spool_objects")), world.exporters.answered()
    puts = len(world.s3_proxy.puts())
    wait_for(f"{name}: the backlog to be gone", lambda: life.metric("agent_spool_objects") <= 2, 120, 0.25)
    took, sent = time.monotonic() - first, len(world.s3_proxy.puts()) - puts
    suite.checks.that(f"{name}: scraping went on while it caught up", world.exporters.answered() - scraped > took * 3)
    # Written every five seconds.
    wait_for(f"{name}: the age of the oldest object to fall", lambda: life.metric("agent_spool_oldest_age_seconds") < 5, 20)
    suite.checks.that(f"{name}: the age of the oldest object falls", True)
    world.available()
    world.finish(suite.checks)
    world.check_uploads(suite.checks)
    suite.say(f"{name}: {attempts} attempts in {AWAY_SECONDS} s; {first - back:.1f} s until the first success; {piled} objects had piled "
              f"up; {sent} sent in {took:.1f} s, {took * 1000 / max(sent, 1):.0f} ms each, of which {PUT_SECONDS * 1000:.0f} by the proxy; "
              f"{time.monotonic() - began:.0f} s in all")


def day(suite, name):
    """A day's backlog of 5,760 objects within 20 minutes at 100 ms each."""
    world = World(suite, name, targets=10, series=5, max_age="100ms")
    world.unavailable()
    life = world.start()
    wait_for(f"{name}: a day's objects", lambda: life.metric("agent_spool_objects") >= DAY, 1800, 1)
    # As after a day: the agent that comes back seals an object every 15 seconds.
    life.kill()
    world.configure(max_age="15s")
    world.available(lambda request: delay(PUT_SECONDS) if request.is_put() else None)
    began = time.monotonic()
    life = world.start()
    wait_for(f"{name}: the backlog to be gone", lambda: life.metric("agent_spool_objects") <= 1, DAY_SECONDS, 0.5)
    took, sent = time.monotonic() - began, len(world.s3_proxy.puts())
    suite.checks.that(f"{name}: {DAY} objects are delivered within {DAY_SECONDS} s", took < DAY_SECONDS, f"{took:.0f} s")
    world.available()
    world.finish(suite.checks)
    world.check_uploads(suite.checks)
    suite.say(f"{name}: {sent} PUTs in {took:.0f} s, {took * 1000 / max(sent, 1):.0f} ms each")
