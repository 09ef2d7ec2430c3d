"""The disk in its bad hour: full, full in the middle of a write, read-only, failing, slow; and no file descriptors left.

While the trouble lasts the process stays up and says what is wrong; where nothing can be written any more, scrapes are skipped
and counted. When the trouble ends it goes on by itself, and the ledger closes: everything that was answered is delivered.

A small tmpfs is really full. What a running process could not meet otherwise (a file system that turns read-only under it, a
write that ends in the middle, a sync that fails or takes seconds) the tracer makes of the calls of the unmodified binary.
"""

import os
import pathlib
import resource
import subprocess
import time

from ledger import DURABLE_SECONDS
from processes import http_get, wait_for
from world import World

# How long a trouble lasts that does not end by itself.
SECONDS = 4
FULL = 1 << 16


def check(suite):
    """All cases, some beside each other."""
    spool = r"/spool/"
    calls = {
        "disk-cut-journal": ("write", r"/journal/", "cut=ENOSPC", False),
        "disk-cut-object": ("write", r"\.parquet\.tmp$", "cut=ENOSPC", False),
        "disk-cut-state": ("write", r"/spool/state", "cut=ENOSPC", False),
        "disk-cut-all-killed": ("write", spool, "cut=ENOSPC", True),
        "disk-read-only": ("create,write,rename,unlink,truncate", spool, "fail=EROFS", False),
        "disk-read-only-killed": ("create,write,rename,unlink,truncate", spool, "fail=EROFS", True),
        "disk-no-rename": ("rename", spool, "fail=EIO", False),
        "disk-no-unlink": ("unlink", spool, "fail=EIO", False),
        "disk-no-sync": ("sync", r"/spool", "fail=EIO", False),
        "disk-no-sync-killed": ("sync", r"/spool", "fail=EIO", True),
        "disk-unreadable": ("open", spool, "fail=EMFILE", False),
        "disk-slow": ("sync", r"/spool", "delay=1500", False),
    }
    cases = [(name, lambda name=name, case=case: troubled(suite, name, *case)) for name, case in calls.items()]
    cases += [("disk-full", lambda: full(suite, "disk-full")), ("disk-full-of-objects", lambda: full_of_objects(suite, "disk-full-of-objects")),
              ("disk-descriptors", lambda: descriptors(suite, "disk-descriptors"))]
    cases = [case for case in cases if suite.wanted(case[0])]
    # Those that take longest first, four at a time.
    waiting = list(reversed(cases))

    def work():
        while waiting:
            name, case = waiting.pop(0)
            suite.checks.section(name, case)

    suite.beside([(f"disk, row {row}", work) for row in range(4)])


def troubled(suite, name, calls, path, action, killed):
    """Calls on files of the spool fail, or take long, for some seconds."""
    world = World(suite, name)
    flag = world.work / "trouble"
    trace = ["--calls", calls, "--path", path, "--then", action, "--while", flag]
    life = world.start(trace)
    world.delivered(2)
    flag.touch()
    since, began = time.monotonic(), time.time()
    wait_for(f"{name}: the trouble to be met", life.moment, 20)
    time.sleep(max(0, SECONDS - (time.monotonic() - since)))
    suite.checks.equal(f"{name}: the process stays up", http_get(f"{life.url()}/healthz")[0], 200)
    if killed:
        life.kill()
        world.start()
    flag.unlink()
    world.delivered(3, 90)
    # What was under way when the trouble came could not be written any more; then scraping pauses.
    in_memory = lambda answer: killed and abs(answer.done - began) < DURABLE_SECONDS  # noqa: E731
    world.finish(suite.checks, allowed=in_memory)
    world.check_uploads(suite.checks)
    suite.checks.none(f"{name}: nothing was dropped", dropped(world))


def dropped(world):
    """What was said of drops."""
    return [line for life in world.lives for line in life.output().splitlines() if "dropped" in line]


def mount(suite, name, size):
    """A small file system of its own; unmounted at the end, and with this program's namespace in any case."""
    place = suite.work / f"{name}-mount"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    suite.closing.insert(0, lambda: subprocess.run(["umount", "--lazy", str(place)], check=False))
    return place


def full(suite, name):
    """Another file takes all the room there is, and gives it back."""
    place = mount(suite, name, "24m")
    world = World(suite, name, targets=60, series=5, spool=place / "spool")
    life = world.start()
    world.delivered(3)
    filler = place / "filler"
    fill(filler)
    paused(world)
    suite.checks.equal(f"{name}: the process stays up", http_get(f"{life.url()}/healthz")[0], 200)
    check_skipped(suite, world)
    status, why = http_get(f"{life.url()}/readyz")
    suite.checks.that(f"{name}: it says so", status == 503 or "No space left" in life.output(), why)
    filler.unlink()
    world.delivered(3, 90)
    world.finish(suite.checks)
    suite.checks.none(f"{name}: nothing was dropped", dropped(world))


def paused(world):
    """Waits until nothing is scraped any more."""
    seen = []

    def is_still():
        seen.append((time.monotonic(), world.exporters.answered()))
        before = [answered for at, answered in seen if at <= seen[-1][0] - 3]
        return before and before[-1] == seen[-1][1]

    wait_for(f"{world.name}: scraping to pause", is_still, 120, 0.2)


def check_skipped(suite, world):
    """Scrapes that did not take place were counted."""
    skipped = lambda: world.life().metric('agent_scrapes_skipped_total{reason="backpressure"}')  # noqa: E731
    wait_for(f"{world.name}: skipped scrapes to be counted", skipped, 20)
    suite.checks.that(f"{world.name}: skipped scrapes are counted", True)


def fill(path):
    """Writes a file until there is no room left, to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (FULL, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass


def full_of_objects(suite, name):
    """S3 is away until objects fill the disk; what frees it again is that S3 comes back, and nothing else."""
    place = mount(suite, name, "6m")
    world = World(suite, name, targets=40, series=0, wide=150, interval="250ms", max_age="1s", spool=place / "spool")
    life = world.start()
    world.delivered(1)
    world.unavailable()
    paused(world)
    suite.checks.equal(f"{name}: the process stays up", http_get(f"{life.url()}/healthz")[0], 200)
    check_skipped(suite, world)
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_bsize
    world.available()
    world.delivered(5, 120)
    world.finish(suite.checks)
    suite.checks.none(f"{name}: nothing was dropped", dropped(world))
    suite.say(f"{name}: {free} bytes were free when scraping stopped")


def descriptors(suite, name):
    """No file descriptor is left for some seconds."""
    world = World(suite, name)
    life = world.start()
    world.delivered(3)
    pid = life.pid()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in pathlib.Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, hard))
    time.sleep(SECONDS)
    suite.checks.that(f"{name}: the process stays up", life.process.running(), life.process.tail)
    suite.checks.that(f"{name}: it says so", "Too many open files" in life.output(), life.process.tail)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    world.delivered(3, 90)
    world.finish(suite.checks)
    suite.checks.none(f"{name}: nothing was dropped", dropped(world))
