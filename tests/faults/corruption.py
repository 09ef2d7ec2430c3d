"""Flipped bits: in an object, in a journal of samples, in a journal of series. Found by checksum at the next start, set aside
under a name that says so, counted; everything else is delivered."""

import time

from processes import wait_for
from world import World


def check(suite):
    """One world for each kind of file."""
    cases = [("object", "*.parquet"), ("samples", "journal/*.samples"), ("series", "journal/*.series")]
    suite.beside([(f"corruption-{name}", lambda name=name, pattern=pattern: flipped(suite, f"corruption-{name}", pattern))
                  for name, pattern in cases if suite.wanted(f"corruption-{name}")])


def flipped(suite, name, pattern):
    """One bit of one file."""
    # A batch that is open for long stays in the journal.
    world = World(suite, name, max_age="1s" if name.endswith("object") else "8s")
    life = world.start()
    world.delivered(1, 30)
    world.unavailable()
    world.scrapes(30)
    wait_for(f"{name}: {pattern}", lambda: sorted(world.spool.glob(pattern)), 15)
    # What is in the journal now is durable.
    time.sleep(1)
    life.kill()
    files = [path for path in sorted(world.spool.glob(pattern)) if path.stat().st_size > 0]
    if not suite.checks.that(f"{name}: the kill left {pattern}", bool(files)):
        return
    # Neither the first, which may be on its way, nor the last, of which nothing is promised.
    victim = files[len(files) // 2]
    content = bytearray(victim.read_bytes())
    place = len(content) * 2 // 3
    content[place] ^= 0x10
    victim.write_bytes(content)
    world.available()
    life = world.start()
    world.scrapes(8)
    aside = wait_for(f"{name}: the damaged file to be set aside", lambda: sorted(world.spool.rglob("*.corrupt")), 20)
    suite.checks.that(f"{name}: it was set aside under a name that says so", victim.name.split(".")[0] in aside[0].name, aside)
    world.drained()
    metrics = life.metrics()
    counted = sum(metrics.get(metric, 0) for metric in (
        'agent_spool_dropped_samples_total{reason="corrupt"}', 'agent_samples_dropped_total{reason="journal_corrupt"}'))
    book = world.finish(suite.checks, allowed=lambda answer: answer.done < world.lives[0].died, gaps=1)
    # Of the last moment before the kill nothing is promised.
    targets = world.exporters.targets
    for target in targets:
        target.answers = [answer for answer in target.answers if world.is_required(answer)]
    missing, samples = book.missing(targets)
    suite.checks.that(f"{name}: something was lost, as it had to", counted > 0 and missing, f"{counted} counted, {missing} missing")
    suite.checks.that(f"{name}: what is missing is counted ({samples} missing, {counted:.0f} counted)", samples <= counted)
    # More than the one file's samples would be too much: no file held more than this.
    suite.checks.that(f"{name}: everything else was delivered", samples < 30 * 4 * 40, f"{samples} missing")
