"""Kubernetes events as their makers write them, what the API server has of them, and the ledger of what was delivered."""

import concurrent.futures
import datetime
import random
import threading
import time
from collections import Counter

REASONS = ("Killing", "Preempted", "Evicted", "OOMKilling", "BackoffLimitExceeded", "DeadlineExceeded", "BackOff", "Pulled")


def core(space):
    """The old generation's path."""
    return f"/api/v1/namespaces/{space}/events"


def new(space):
    """The new one's."""
    return f"/apis/events.k8s.io/v1/namespaces/{space}/events"


def now(seconds=None):
    """As Kubernetes writes a time with microseconds."""
    moment = datetime.datetime.fromtimestamp(time.time() if seconds is None else seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def create(api, space, number, old=None, seconds=None):
    """An event of either generation, by its number unless `old` says which: what the API server made of it."""
    name, reason = f"e-{number}", REASONS[number % len(REASONS)]
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": space, "name": f"web-{number % 20}", "uid": f"u-{number % 20}"}
    meta, moment = {"name": name, "namespace": space}, now(seconds)
    if number % 2 if old is None else old:
        return api.call("POST", core(space), {
            "apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": about, "reason": reason, "type": "Warning",
            "message": "said", "source": {"component": "kubelet", "host": "node-000"}, "count": 1,
            "firstTimestamp": moment[:19] + "Z", "lastTimestamp": moment[:19] + "Z"})
    return api.call("POST", new(space), {
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": meta, "regarding": about, "reason": reason,
        "type": "Normal", "note": "said", "action": "Acting", "eventTime": moment, "reportingController": "suite",
        "reportingInstance": "suite-0"})


def repeat(api, space, number, count, old=None, seconds=None):
    """The same happens again."""
    moment = now(seconds)
    if number % 2 if old is None else old:
        patch, path = {"count": count, "lastTimestamp": moment[:19] + "Z"}, core(space)
    else:
        patch, path = {"series": {"count": count, "lastObservedTime": moment}}, new(space)
    return api.call("PATCH", f"{path}/e-{number}", patch, "application/merge-patch+json")


def make(api, space, numbers):
    """Creates events from several clients at once, and repeats every third."""
    def one(number):
        create(api, space, number)
        if number % 3 == 0:
            for count in range(2, 2 + number % 5):
                repeat(api, space, number, count)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, numbers))


def listed(api, space=None):
    """All events that the API server has, of a namespace or of all."""
    return api.get(new(space) if space else "/apis/events.k8s.io/v1/events")["items"]


def count_of(item):
    """How often it happened."""
    return max(1, (item.get("series") or {}).get("count") or item.get("deprecatedCount") or 1)


def truth(api, space=None):
    """`{uid: count}` of all events that the API server has."""
    return {item["metadata"]["uid"]: count_of(item) for item in listed(api, space)}


def ends(api):
    """`{(uid/container, run)}` of all containers that a pod's status says the end of."""
    found = set()
    for pod in api.get("/api/v1/pods")["items"]:
        status = pod.get("status", {})
        for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
            for container in status.get(kind) or []:
                name, restarts = f"{pod['metadata']['uid']}/{container['name']}", container.get("restartCount", 0)
                for state, run in ((container.get("lastState"), restarts), (container.get("state"), restarts + 1)):
                    if run > 0 and (state or {}).get("terminated", {}).get("finishedAt"):
                        found.add((name, run))
    return found


def end_container(api, pod, reason="OOMKilled", code=137):
    """The kubelet says that the first run of a pod's container was killed, and that it runs again."""
    status = dict(pod["status"]["containerStatuses"][0])
    ended = {"reason": reason, "exitCode": code, "startedAt": now()[:19] + "Z", "finishedAt": now()[:19] + "Z"}
    status |= {"restartCount": 1, "lastState": {"terminated": ended}, "state": {"running": {"startedAt": now()[:19] + "Z"}}}
    api.status({**pod, "status": {"containerStatuses": [status]}})


def close(checks, name, delivered, expected, pods=None):
    """The ledger of the rows: every last count is one, none was made up, and no writer shipped a pair of uid and count twice.

    `delivered`: `(writer, row)`; `expected`: `{uid: count}`; `pods`: what the status of pods says, if that was looked at.
    """
    happened = [(writer, row["uid"], row["count"]) for writer, row in delivered if row["source"] == "event"]
    pairs = {(uid, count) for _, uid, count in happened}
    checks.that(f"{name}: something happened", bool(expected))
    checks.none(f"{name}: every event's last count is a row", set(expected.items()) - pairs)
    checks.none(f"{name}: no event was made up", {uid for uid, _ in pairs} - set(expected))
    checks.none(f"{name}: no count of an event is beyond what happened", [(u, c) for u, c in pairs if c > expected.get(u, 0)])
    ended = [(writer, row["uid"], row["count"]) for writer, row in delivered if row["source"] == "pod"]
    checks.equal(f"{name}: rows of two kinds, and no others", len(happened) + len(ended), len(delivered))
    if pods is not None:
        checks.equal(f"{name}: the end of each container is a row", {(uid, run) for _, uid, run in ended}, pods)
    twice = [row for row, times in Counter(happened + ended).items() if times > 1]
    checks.none(f"{name}: no writer shipped a pair of uid and count twice", twice)


class Maker:
    """Events that go on: new ones, and repeats of those that are there. Knows when each happened."""

    def __init__(self, api, space, often, times):
        """Begins with `often` events that have happened so many `times` an hour ago, and repeat from now on like the others."""
        self.api, self.space = api, space
        # (seconds, uid, count)
        self.steps = []
        self._counts, self._dice = {}, random.Random(11)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure = None
        for number in range(often):
            past = time.time() - 3600 + number
            uid = create(api, space, number, old=False, seconds=past)["metadata"]["uid"]
            repeat(api, space, number, times, old=False, seconds=past + 60)
            self._counts[number] = (uid, times)
        self.before = {uid: count for uid, count in self._counts.values()}

    def start(self):
        """Lets them happen, twenty in a second."""
        self._thread.start()

    def stop(self):
        """Ends it, once or again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def counted(self, since, gaps=()):
        """How often anything happened since then, but not in the gaps."""
        inside = lambda moment: any(began <= moment <= ended for began, ended in gaps)
        return sum(1 for moment, _, _ in self.steps if moment >= since and not inside(moment))

    def _run(self):
        try:
            while not self._stop.wait(0.05):
                self._one()
        except Exception as failure:  # whatever it was: the scenario says it
            self.failure = failure

    def _one(self):
        moment = time.time()
        if self._dice.random() < 0.4:
            number = len(self._counts)
            uid, count = create(self.api, self.space, number, old=False, seconds=moment)["metadata"]["uid"], 1
        else:
            number = self._dice.randrange(len(self._counts))
            uid, count = self._counts[number]
            count += 1
            repeat(self.api, self.space, number, count, old=False, seconds=moment)
        self._counts[number] = (uid, count)
        self.steps.append((moment, uid, count))
