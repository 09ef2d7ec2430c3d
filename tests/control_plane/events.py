"""Kubernetes events of a real API server: thousands, repeated, while agents are killed and take turns, and the API server goes
away and forgets.

The agents run beside the cluster with a kubeconfig, and deliver into a directory. In the end the ledger closes by uid and count:
every count that the API server ended with is a row, no agent shipped a pair of uid and count twice, and the last values of
the counters are the sums of the counts. Runs alone: `--only events --nodes 2 --gpu-nodes 1 --real-exporters 0 --pods 5`.
"""

import random
import signal
import time
from datetime import datetime

import happenings
import watching
from processes import wait_for

SPACE, TURNS, EXPIRED = "happenings", "turns", "expiries"
EVENTS = 3000
# The other takes over within 15 s of the loss.
TAKEOVER = 15
# Around the end of a turn: what is not yet in the spool, and what the next one's list brings.
BEFORE, AFTER = 3, 3
HOLDING = "holding the lease: scraping and uploading"
HANDING = "handing the lease over"
TOO_OLD = "the watch is too old: listing again"


def check(suite):
    """One scenario after the other, each in a namespace of its own."""
    for name, function in (("events", restarts), ("turns", turns), ("expired", expired)):
        suite.checks.section(f"events: {name}", function, suite)


def restarts(suite):
    """Thousands of events; the agent is killed four times, and the API server goes away."""
    suite.cluster.namespace(SPACE)
    checks, api, agent = suite.checks, suite.api, watching.Agent(suite, SPACE)
    third = EVENTS // 3
    # What was there before the agent, and what comes while it lists.
    happenings.make(api, SPACE, range(0, third, 2))
    agent.start()
    happenings.make(api, SPACE, range(1, third, 2))
    wait_for("the first rows", lambda: watching.rows(agent.home), 60, 0.5)
    dice = random.Random(7)
    for life in range(4):
        part = range(third + life * third // 4, third + (life + 1) * third // 4)
        happenings.make(api, SPACE, part[: len(part) // 2])
        time.sleep(dice.uniform(0.1, 1.5))
        agent.process.kill()
        happenings.make(api, SPACE, part[len(part) // 2 :])
        agent.start()
    suite.cluster.stop_server()
    wait_for("the log to say that the API server is away", lambda: "does not answer" in agent.log(), 60)
    suite.cluster.start_server()
    happenings.make(api, SPACE, range(2 * third, 3 * third))
    truth = happenings.truth(api, SPACE)
    checks.equal("events: the API server has all of them", len(truth), EVENTS)
    finish(suite, "events", agent, truth)
    checks.equal("events: a row says who and where", {(r["kind"], r["namespace"], r["cluster_id"]) for _, _, r in watching.rows(agent.home)},
                 {("Pod", SPACE, "real")})
    by_reason = {}
    for item in happenings.listed(api, SPACE):
        by_reason[item["reason"]] = by_reason.get(item["reason"], 0) + happenings.count_of(item)
    counted = {}
    for labels, value in watching.counters(agent.home).items():
        reason = dict(labels)["reason"]
        counted[reason] = counted.get(reason, 0) + int(value)
    checks.equal("events: by reason, too", counted, by_reason)


def finish(suite, name, agent, truth):
    """A single agent has everything, ends in order, and its ledger closes."""
    checks = suite.checks
    found = lambda: {(row["uid"], row["count"]) for _, _, row in watching.rows(agent.home)}
    wait_for("every event's last count", lambda: set(truth.items()) <= found(), 60, 1)
    wait_for("the counters to have them all", lambda: sum(watching.counters(agent.home).values()) >= sum(truth.values()), 30, 1)
    began = time.monotonic()
    code = agent.process.signal_and_wait(signal.SIGTERM, 30)
    checks.equal(f"{name}: SIGTERM ends the agent with exit code 0", code, 0)
    rows = watching.rows(agent.home)
    suite.say(f"{len(rows)} rows of {len(truth)} events, {agent.lives} lives, ended in {time.monotonic() - began:.1f} s")
    happenings.close(checks, name, [(writer, row) for _, writer, row in rows], truth, set())
    checks.equal(f"{name}: one writer", len({writer for _, writer, _ in rows}), 1)
    checks.equal(f"{name}: the counters' last values are the sums", sum(watching.counters(agent.home).values()), sum(truth.values()))


class Pair:
    """Two agents with one Lease."""

    def __init__(self, suite):
        self.suite = suite
        self.agents = [watching.Agent(suite, TURNS, name, election=TURNS) for name in "ab"]
        self.home = self.agents[0].home
        # (began, ended) of every change: what happens then may be counted by nobody, and never by two.
        self._gaps = []

    def lease(self):
        """The Lease's specification; empty before the first."""
        found = self.suite.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{TURNS}/leases")["items"]
        return found[0]["spec"] if found else {}

    def holder(self):
        """The agent that holds the Lease, and the other."""
        name = (self.lease().get("holderIdentity") or "").split("_")[0]
        one, other = self.agents
        return (one, other) if name == one.name else (other, one) if name == other.name else (None, None)

    def take_over(self, name, end, allowed):
        """Ends the holder; the other takes over in time. Gives both, as they were."""
        holder, other = self.holder()
        began = time.time()
        end(holder)
        ended = time.time()
        wait_for(f"{name}: the other to take over", lambda: self.holder()[0] is other, TAKEOVER + 5, 0.05)
        took = time.time() - ended
        self.suite.checks.that(f"turns: {name}: the other takes over in time", took <= allowed, f"{took:.1f} s")
        self.suite.say(f"{name}: taken over after {took:.1f} s")
        self._gaps.append((began - BEFORE, time.time() + AFTER))
        time.sleep(AFTER + 3)
        return holder, other

    def turns(self):
        """When turns began, by agent."""
        return {agent.name: [moment for moment, _ in agent.said(HOLDING)] for agent in self.agents}

    def gaps(self, first):
        """All changes; who is back asks for a turn to deliver what it left, and is given one."""
        began = sorted(moment for moments in self.turns().values() for moment in moments)
        given = [moment for agent in self.agents for moment, _ in agent.said(HANDING)]
        ends = [(moment, next((turn for turn in began if turn > moment), moment)) for moment in given]
        return [(first, first + AFTER), *self._gaps, *((moment - BEFORE, end + AFTER) for moment, end in ends)]


def turns(suite):
    """The holder alone watches; it is killed, ended in order, and killed and started again: nothing is lost, and nothing counted twice."""
    checks, api = suite.checks, suite.api
    suite.cluster.namespace(TURNS)
    # A thousand times an hour ago: who counted what is not its own would be seen.
    maker, pair = happenings.Maker(api, TURNS, 20, 1000), Pair(suite)
    suite.closing.append(maker.stop)
    maker.start()
    for agent in pair.agents:
        agent.start()
    wait_for("one to hold the Lease", lambda: pair.holder()[0], 30, 0.05)
    first = datetime.fromisoformat(pair.lease()["acquireTime"]).timestamp()
    time.sleep(AFTER + 5)
    killed, holder = pair.take_over("kill -9", lambda agent: agent.process.kill(), TAKEOVER)
    killed.start()
    time.sleep(5)
    codes = []
    ended, holder = pair.take_over("ended in order", lambda agent: codes.append(agent.process.signal_and_wait(signal.SIGTERM, 30)), 4)
    checks.equal("turns: SIGTERM ends the holder with exit code 0", codes, [0])
    ended.start()
    time.sleep(3)
    # Within the Lease's time: it goes on with the same turn, and nobody has counted meanwhile.
    holder, ended = pair.holder()
    transitions = pair.lease()["leaseTransitions"]
    holder.process.kill()
    holder.start()
    time.sleep(8)
    checks.equal("turns: who is back in time goes on with its turn", (pair.holder()[0], pair.lease()["leaseTransitions"]), (holder, transitions))
    maker.stop()
    checks.equal("turns: the API server took every event", maker.failure, None)
    truth = happenings.truth(api, TURNS)
    rows = lambda: {(row["uid"], row["count"]) for _, _, row in watching.rows(pair.home)}
    wait_for("every event's last count", lambda: set(truth.items()) <= rows(), 60, 1)
    time.sleep(AFTER)
    for agent in (holder, ended):
        checks.equal(f"turns: SIGTERM ends {agent.name} with exit code 0", agent.process.signal_and_wait(signal.SIGTERM, 30), 0)
    judge(suite, pair, maker, truth, first)


def judge(suite, pair, maker, truth, first):
    """The ledger of two agents: by uid and count, by turn, and of the counters."""
    checks, rows = suite.checks, watching.rows(pair.home)
    happenings.close(checks, "turns", [(writer, row) for _, writer, row in rows], truth, set())
    steps = {(uid, count) for _, uid, count in maker.steps} | set(maker.before.items())
    checks.none("turns: every row happened", {(row["uid"], row["count"]) for _, _, row in rows} - steps)
    writers = {agent.name: owner(agent, rows) for agent in pair.agents}
    checks.equal("turns: each agent is a writer", len(set(writers.values())), 2)
    began = {writers[name]: moments for name, moments in pair.turns().items()}
    checks.that("turns: both have had turns", all(began.values()), began)
    # What both shipped: the second one, after a turn of it had begun that found it there.
    shipped, again, unfounded = {}, 0, []
    for key, writer, row in sorted(rows, key=lambda found: found[0]):
        pair_of = (row["uid"], row["count"])
        if shipped.setdefault(pair_of, writer) == writer:
            continue
        again, moment, put = again + 1, row["timestamp"].timestamp(), int(key.split("/")[0])
        if not any(moment - AFTER <= turn <= put + 1 for turn in began[writer]):
            unfounded.append((pair_of, writer, moment, put))
    checks.none("turns: shipped by both is only what a new holder found there", unfounded)
    # Times are compared in milliseconds.
    counted, most = sum(watching.counters(pair.home).values()), maker.counted(first - 0.002)
    gaps = pair.gaps(first)
    least = maker.counted(first, gaps)
    suite.say(f"{len(rows)} rows of {len(truth)} events, {again} of them shipped by both; happened {most} times, counted {counted:.0f}, "
              f"{most - least} of them around {len(gaps)} changes")
    checks.that("turns: nothing is counted twice", counted <= most, f"{counted} of {most}")
    checks.that("turns: only what happened around a change is counted by nobody", counted >= least, f"{counted}, at least {least} of {most}")


def owner(agent, rows):
    """Who an agent is as a writer: its identity ends with it."""
    known = {writer for _, writer, _ in rows}
    line = next((line for _, line in agent.said(HOLDING)), {})
    return next((writer for writer in known if str(line.get("me", "")).endswith(f"_{writer}")), None)


def expired(suite):
    """The road to the API server is cut; meanwhile things happen, and etcd forgets all but the present: a real 410."""
    checks, api = suite.checks, suite.api
    suite.cluster.namespace(EXPIRED)
    road = watching.Road()
    suite.closing.append(road.close)
    agent = watching.Agent(suite, EXPIRED, server=watching.SERVICE_ADDRESS, log="info,pipeline=debug")
    happenings.make(api, EXPIRED, range(200))
    agent.start()
    found = lambda: {(row["uid"], row["count"]) for _, _, row in watching.rows(agent.home)}
    expirations = lambda: [line for _, line in agent.said(TOO_OLD) if line["resource"] == "events"]
    truth = {}
    for again in (1, 2):
        # As it was before anything is deleted.
        truth |= happenings.truth(api, EXPIRED)
        wait_for("the watch to bring all", lambda: set(truth.items()) <= found(), 60, 0.5)
        road.cut()
        happenings.make(api, EXPIRED, range(again * 200, again * 200 + 200))
        for number in range(0, 100, 2):
            happenings.repeat(api, EXPIRED, number, 100 * again)
        for number in range(again, 100, 10):
            if number % 2:
                api.call("DELETE", f"{happenings.core(EXPIRED)}/e-{number}")
        suite.cluster.compact()
        road.join()
        wait_for("the API server to say that the version is gone", lambda: len(expirations()) >= again, 60, 0.2)
    truth |= happenings.truth(api, EXPIRED)
    happenings.make(api, EXPIRED, range(600, 700))
    truth |= happenings.truth(api, EXPIRED)
    checks.equal("expired: events were deleted meanwhile", len(truth) - len(happenings.truth(api, EXPIRED)), 10)
    finish(suite, "expired", agent, truth)
    suite.say(f"the watch of events was too old {len(expirations())} times")
