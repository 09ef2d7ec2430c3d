"""kill -9 at named moments and at random ones, each followed by a restart on the same spool, and the ledger.

A life ends at its moment; the next begins at once and ends at its own, so that many kills come while what the one before
left is being replayed. Every world ends with a life that is stopped in order, and its ledger.

The tracer (kill_at) ends a life before or after a system call on a file; the proxy ends it at a moment of a request. Half of
the lives in the tracer also lose their power: what was not synced is gone.
"""

import os
import signal
import threading
import time

from checks import Checks
from world import World

# Moments on the disk: name, calls, file. Every one has a before and an after.
DISK = [
    ("create a journal of series", "create", r"/journal/\d+\.series"),
    ("write a journal of series", "write", r"/journal/\d+\.series"),
    ("sync a journal of series", "sync", r"/journal/\d+\.series"),
    ("create a journal of samples", "create", r"/journal/\d+\.samples"),
    WRITE_SAMPLES := ("write a journal of samples", "write", r"/journal/\d+\.samples"),
    ("sync a journal of samples", "sync", r"/journal/\d+\.samples"),
    ("sync the journal's directory", "sync", r"/journal$"),
    ("remove a journal of samples", "unlink", r"/journal/\d+\.samples"),
    ("create an object", "create", r"\.parquet\.tmp$"),
    ("write an object", "write", r"\.parquet\.tmp$"),
    ("sync an object", "sync", r"\.parquet\.tmp$"),
    ("rename an object", "rename", r"\.parquet$"),
    ("sync the spool's directory", "sync", r"/spool$"),
    ("write the state", "write", r"/spool/state"),
    ("sync the state", "sync", r"/spool/state"),
    ("remove a delivered object", "unlink", r"\.parquet$"),
    ("send to a server", "send", r"^socket:"),
    ("receive from a server", "receive", r"^socket:"),
    ("connect", "connect", r"^socket:"),
]
# Moments of requests, by the proxies: see proxy.py.
NETWORK = [(server, moment) for server in ("S3", "Cedana API") for moment in ("request", "part", "body", "stored", "answered")]
# Of these, what may happen once in a life, early.
ONCE = {"create a journal of series", "write a journal of series", "sync a journal of series", "connect"}
# How many lives share a world before its ledger.
LIVES = 12
# A life is let live this long for its moment to come.
LIFE_SECONDS = 8


class Watched(Checks):
    """Checks of one world, which count in all."""

    def __init__(self, whole):
        super().__init__()
        self.whole = whole

    def that(self, name, holds, why=""):
        """Counts here and there."""
        self.passed += bool(holds)
        self.failed += not holds
        return self.whole.that(name, holds, why)


class Moment:
    """One way for a life to end."""

    # Whether it has to come. A random one may be one more than its life had.
    named = False
    # Whether it comes only while objects are made all the time. Otherwise batches stay open, and the journal alone keeps
    # what was answered.
    needs_objects = True

    def __init__(self, name):
        self.name = name

    def end(self, world):
        """Runs a life to its end; whether the moment came."""
        raise NotImplementedError


class DiskMoment(Moment):
    """Before or after a system call."""

    def __init__(self, name, calls, path, side, nth, power, armed):
        """`armed` is how many seconds pass before calls count."""
        super().__init__(f"{side} {name}, {nth}." + (f" after {armed:.1f} s" if armed else "") + (", power lost" if power else ""))
        self.trace = ["--calls", calls, "--path", path, "--nth", str(nth), "--then", f"kill-{side}"]
        self.power = power
        self.armed = armed
        self.needs_objects = not (r"/journal/" in path and calls in ("write", "sync"))

    def end(self, world):
        flag = world.work / "armed"
        flag.unlink(missing_ok=True)
        trace = [*self.trace, "--while", str(flag), *(["--lose-power", str(world.spool)] if self.power else [])]
        if not self.armed:
            flag.touch()
        life = world.start(trace)
        time.sleep(self.armed)
        flag.touch()
        came = life.wait_end(LIFE_SECONDS)
        if not came:
            life.kill()
        return came and life.moment() is not None


class NetworkMoment(Moment):
    """At a moment of a request to one of the servers."""

    def __init__(self, server, moment, nth):
        super().__init__(f"{server}: {moment}, {nth}.")
        self.server = server
        self.moment = moment
        self.nth = nth

    def end(self, world):
        proxy = world.s3_proxy if self.server == "S3" else world.cedana_proxy
        seen, life, born = [], None, threading.Event()

        def at(moment, request):
            # Its first request may be here before this program knows its process id.
            born.wait()
            if moment == self.moment and request.method in ("PUT", "POST") and life.died is None:
                seen.append(request)
                if len(seen) == self.nth:
                    life.died = time.time()
                    os.kill(life.process.pid, signal.SIGKILL)

        proxy.at = at
        life = world.start()
        born.set()
        came = life.wait_end(LIFE_SECONDS)
        proxy.at = lambda moment, request: None
        if not came:
            life.kill()
        return came and len(seen) >= self.nth


class RandomMoment(Moment):
    """After a random time."""

    needs_objects = False

    def __init__(self, seconds, power):
        super().__init__(f"after {seconds:.2f} s" + (", power lost" if power else ""))
        self.seconds = seconds
        self.power = power

    def end(self, world):
        flag = world.work / "now"
        flag.unlink(missing_ok=True)
        trace = ["--calls", "write,sync,create,rename,unlink,send,receive", "--while", str(flag)]
        life = world.start([*trace, *(["--lose-power", str(world.spool)] if self.power else [])])
        time.sleep(self.seconds)
        flag.touch()
        came = life.wait_end(LIFE_SECONDS)
        if not came:
            life.kill()
        flag.unlink()
        return came and life.moment() is not None


def disk_moment(chance, name, calls, path, side, early):
    """An early one comes while what the last life left is replayed; a late one when there are answers that must be kept."""
    # What happens once in a life happens early.
    early = early or name in ONCE
    armed, nth = (0, chance.randint(1, 2)) if early else (chance.uniform(1.8, 2.8), chance.randint(1, 3))
    nth = 1 if name in ONCE else nth
    return DiskMoment(name, calls, path, side, nth, chance.random() < 0.5, armed)


def named(chance):
    """Every named moment, before and after; early ones, which come during a replay, and later ones in turn."""
    moments = []
    for index, (name, calls, path) in enumerate(DISK):
        for side in ("before", "after"):
            moments.append(disk_moment(chance, name, calls, path, side, (index + (side == "after")) % 2 == 0))
    for server, moment in NETWORK:
        moments.append(NetworkMoment(server, moment, 1 if server != "S3" else chance.randint(1, 4)))
    for moment in moments:
        moment.named = True
    return moments


def at_random(chance, count):
    """Random ones: at random times, and at random calls."""
    moments = []
    for _ in range(count):
        if chance.random() < 0.4:
            moments.append(RandomMoment(chance.uniform(0.1, 5), chance.random() < 0.5))
        elif chance.random() < 0.3:
            moments.append(NetworkMoment("S3", chance.choice(NETWORK)[1], chance.randint(1, 8)))
        else:
            moments.append(disk_moment(chance, *chance.choice(DISK), chance.choice(("before", "after")), chance.random() < 0.5))
    return moments


def check(suite):
    """All named moments and some random ones; in the long form 500 kills."""
    chance = suite.random("kills")
    moments = named(chance)
    moments += at_random(chance, 500 - len(moments) if suite.long else 14)
    chance.shuffle(moments)
    worlds = []
    for kind, needs_objects in (("journal", False), ("objects", True)):
        mine = [moment for moment in moments if moment.needs_objects == needs_objects]
        if not needs_objects:
            # The first life of a spool has made nothing durable by an object.
            firsts = [DiskMoment(*WRITE_SAMPLES, "before", 1, True, 3.5) for _ in range(0, len(mine), LIVES - 1)]
            for index, first in enumerate(firsts):
                mine.insert(index * LIVES, first)
        worlds += [(f"kills-{kind}-{index // LIVES}", mine[index:index + LIVES]) for index in range(0, len(mine), LIVES)]
    worlds = [world for world in worlds if suite.wanted(world[0])]
    waiting, totals = list(worlds), {"kills": 0, "missed": []}

    def work():
        while waiting:
            name, mine = waiting.pop(0)
            suite.checks.section(name, one_world, suite, name, mine, totals)

    suite.beside([(f"kills, row {row}", work) for row in range(4)])
    suite.checks.none("kills: every named moment came", totals["missed"])
    suite.say(f"kills: {totals['kills']} in {len(worlds)} worlds, seed {suite.seed}")


def one_world(suite, name, moments, totals):
    """Some lives on one spool, and the ledger of them all."""
    chance = suite.random(name)
    world = World(suite, name, targets=6, series=12, max_age=chance.choice(["300ms", "700ms"]) if moments[0].needs_objects else "1m")
    checks = Watched(suite.checks)
    for number, moment in enumerate(moments):
        came = moment.end(world)
        totals["kills"] += 1
        if not came and moment.named:
            totals["missed"].append((name, number, moment.name))
    try:
        world.finish(checks)
    finally:
        world.close()
        explain(suite, world, moments, checks)


def explain(suite, world, moments, checks):
    """What it takes to repeat a world whose ledger did not close."""
    if checks.failed or not checks.passed:
        for number, moment in enumerate(moments):
            life = world.lives[number]
            suite.say(f"{world.name} life {number} died {life.died and round(life.died, 3)}: {moment.name}: {' '.join(life.command)}")
        suite.say(f"repeat with: {suite.repeat('kills', world.name)}")
