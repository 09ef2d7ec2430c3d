"""A hundred targets every second with random faults for minutes, and the memory sampled: flat, and below the bound that the
agent prints at its start."""

import pathlib
import re
import statistics
import time

import proxy
from processes import Failure
from proxy import delay, refuse
from world import World

TARGETS, SERIES = 100, 200
SECONDS, SECONDS_LONG = 120, 1200
# Flat: the median of the last quarter is at most this much above that of the second. The first one warms up; what a heap
# gains by fragments in a tenth of its size, or 8 MiB, is no growth.
GROWTH, GROWTH_KIB = 1.1, 8 << 10
FAULTS = [
    refuse(500, "InternalError"), refuse(503, "SlowDown"), refuse(400, "ExpiredToken"), delay(2), proxy.CUT_PART,
    proxy.CUT_BODY, proxy.LOSE_ANSWER, proxy.STORED_500, proxy.STALL,
]
# Room for what is scraped here, so that the bound means something.
LIMITS = """limits:
  max_series: 100000
  max_body_bytes: 16MiB
"""


def check(suite):
    """One life of the agent."""
    name = "soak"
    seconds = SECONDS_LONG if suite.long else SECONDS
    chance = suite.random(name)
    world = World(suite, name, targets=TARGETS, series=SERIES, interval="1s", max_age="5s", more=LIMITS, lifetime=60)
    world.s3_proxy.plan = lambda request: chance.choice(FAULTS) if chance.random() < 0.25 else None
    world.cedana_proxy.plan = lambda request: refuse(500, "Suite") if chance.random() < 0.3 else None
    life = world.start()
    life.url()
    bound = int(re.search(r'"memory_bytes_max":(\d+)', life.output()).group(1)) // 1024
    sampled, began = [], time.monotonic()
    while time.monotonic() - began < seconds:
        sampled.append(resident(life))
        time.sleep(1)
    metrics = life.metrics()
    world.s3_proxy.plan = world.cedana_proxy.plan = lambda request: None
    quarter = len(sampled) // 4
    second, last = statistics.median(sampled[quarter:2 * quarter]), statistics.median(sampled[-quarter:])
    suite.checks.that(f"{name}: memory is flat", last <= max(second * GROWTH, second + GROWTH_KIB),
                      f"median of the second quarter {second} KiB, of the last {last} KiB")
    suite.checks.that(f"{name}: memory stays below the printed bound", max(sampled) < bound, f"{max(sampled)} of {bound} KiB")
    answered = world.exporters.answered()
    suite.checks.that(f"{name}: nearly every scrape took place", answered > 0.9 * TARGETS * seconds, f"{answered}")
    dropped = {key: value for key, value in metrics.items() if "dropped" in key and value}
    suite.checks.equal(f"{name}: nothing was dropped", dropped, {})
    world.finish(suite.checks)
    world.check_uploads(suite.checks)
    faults = sum(1 for request in [*world.s3_proxy.log, *world.cedana_proxy.log] if request.fault)
    suite.say(f"{name}: {answered} scrapes of {SERIES + 1} samples in {seconds} s, {faults} faults; memory {second / 1024:.1f} MiB in the "
              f"second quarter, {last / 1024:.1f} in the last, {max(sampled) / 1024:.1f} at most, bound {bound / 1024:.0f}")


def resident(life):
    """Resident memory, KiB."""
    try:
        status = pathlib.Path(f"/proc/{life.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))
    except (OSError, AttributeError):
        raise Failure(f"the agent ended by itself: {life.process.tail()}") from None
