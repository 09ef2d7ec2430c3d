"""The ledger of a run: what every endpoint answered against what the delivered objects hold.

Two streams lie below one prefix, and each has a ledger of its own: objects of metrics, and those of Kubernetes events. A key that
belongs to neither fails.
"""

import io
import itertools
import re
from collections import defaultdict

import pyarrow as pa
import pyarrow.parquet as pq

from delivered import DeliveredObject
from s3_server import PREFIX

NAME = r"\d{10}/([a-z0-9]+)-(\d{10})\.parquet"
METRICS, EVENTS = re.compile(f"{PREFIX}/{NAME}"), re.compile(f"{PREFIX}/0-events/{NAME}")

# The sample of each job's stand-in whose value is the number of the scrape.
PROBES = {
    "node-exporter": ("probe_scrapes_total", {}),
    "dcgm": ("DCGM_FI_DEV_GPU_UTIL", {"gpu": "0"}),
    "cadvisor": ("container_cpu_usage_seconds_total", {"container": "train"}),
    "event-exporter": ("events_sent", {}),
}


def of_metrics(keys):
    """The keys of objects of metrics."""
    return [key for key in keys if METRICS.fullmatch(key)]


def of_events(keys):
    """The keys of objects of Kubernetes events."""
    return [key for key in keys if EVENTS.fullmatch(key)]


class Delivered:
    """All objects of a run, by what the checks ask for."""

    def __init__(self, s3, since=None):
        listing = [entry for entry in s3.objects() if since is None or entry["Key"] not in since]
        self.listing = [entry for entry in listing if METRICS.fullmatch(entry["Key"])]
        self.listing_of_events = [entry for entry in listing if EVENTS.fullmatch(entry["Key"])]
        self.strange = {entry["Key"] for entry in listing} - {
            entry["Key"] for entry in self.listing + self.listing_of_events}
        # (writer, row) of Kubernetes events
        self.happened = []
        for entry in self.listing_of_events:
            table = pq.ParquetFile(io.BytesIO(s3.read(entry["Key"]))).read()
            writer = EVENTS.fullmatch(entry["Key"]).group(1)
            self.happened += [(writer, row) for row in table.to_pylist()]
        self.objects = [DeliveredObject(entry["Key"], s3.read(entry["Key"])) for entry in self.listing]
        # (job, instance) -> [(milliseconds, up)]
        self.up = defaultdict(list)
        # job -> values of `node` of all its rows, by instance
        self.nodes = defaultdict(lambda: defaultdict(set))
        self.probes = defaultdict(list)
        self.metrics = defaultdict(set)
        self.rows = 0
        # Labels -> the last value, of the counters of events
        self.counted, self._counted_at = {}, {}
        # (job, instance) -> [(milliseconds, writer)] of successful scrapes
        self.writers = defaultdict(list)
        for delivered in self.objects:
            self._read(delivered.table, delivered.key.rsplit("/", 1)[1].split("-")[0])

    def _read(self, table, writer):
        names = ["timestamp", "metric", "job", "instance", "namespace", "node", "container", "value"]
        columns = [table.column(name) for name in names]
        columns[0] = columns[0].cast(pa.int64())
        labels = table.column("labels")
        self.rows += table.num_rows
        for index, (time, metric, job, instance, namespace, node, container, value) in enumerate(
            zip(*(column.to_pylist() for column in columns), strict=True)
        ):
            self.metrics[job].add(metric)
            if metric == "up":
                self.up[job, instance].append((time, value))
                if value == 1:
                    self.writers[job, instance].append((time, writer))
            if metric == "kube_events_total":
                self._count((instance, namespace, *sorted(labels[index].as_py())), time, value)
            self.nodes[job][instance].add((metric in ("up", "scrape_duration_seconds"), node))
            probe = PROBES.get(job)
            if probe and metric == probe[0]:
                wanted = dict(probe[1])
                if wanted.pop("container", container) == container and wanted.items() <= dict(labels[index].as_py()).items():
                    self.probes[job, instance].append((time, value))

    def _count(self, series, time, value):
        if time >= self._counted_at.get(series, 0):
            self._counted_at[series], self.counted[series] = time, value


def close(checks, name, delivered, stand_ins, intervals, began, ended):
    """The ledger closes: each endpoint was scraped once per interval, and every scrape was delivered once.

    `began` and `ended`: from the agent's readiness to just before its end; scrapes before and after are compared too, but
    nobody has to have made them.
    """
    missing, twice, uneven, lost, strangers, wrong_probe = [], [], [], [], [], []
    known = set()
    for endpoint in stand_ins.endpoints:
        key = (endpoint.job, endpoint.instance_label)
        known.add(key)
        rows = sorted(delivered.up[key])
        good = [time for time, up in rows if up == 1]
        if len(good) != len(set(good)):
            twice.append(key)
        # An answer on its way when the agent is told to end may be given up.
        if len(good) not in (len(endpoint.answered), sum(t < ended for t in endpoint.answered)):
            lost.append((key, f"{len(endpoint.answered)} answered, {len(good)} delivered"))
        interval = intervals[endpoint.job]
        since = max(began, getattr(endpoint, "born", 0))
        until = min(ended, getattr(endpoint, "gone", None) or ended)
        inside = [t / 1000 for t in good if since <= t / 1000 <= until]
        times = [since, *inside, until]
        # The first scrape comes at a random moment of the interval, and a change takes a moment.
        at_the_ends = max(times[1] - times[0], times[-1] - times[-2])
        if at_the_ends > interval * 1.2 + 2 or any(b - a > interval * 1.5 for a, b in itertools.pairwise(inside)):
            missing.append((key, [round(b - a, 2) for a, b in itertools.pairwise(times)]))
        # By their number, since a busy machine may delay one of them.
        if len(inside) > (until - since) // interval + 1:
            uneven.append((key, [round(b - a, 2) for a, b in itertools.pairwise(times[1:-1])]))
        if endpoint.job in PROBES and not getattr(endpoint, "real", False):
            # Sorted by the value too: a scrape given up by the agent may have counted one.
            values = sorted(value for _, value in delivered.probes[key])
            if values != [float(number + 1) for number in range(len(good))]:
                wrong_probe.append((key, values[:12], len(endpoint.answered)))
    strangers = [key for key in delivered.up if key not in known and key[0] in intervals and delivered.up[key]]
    checks.that(f"{name}: something was scraped", any(delivered.up.values()), "no sample of `up`")
    checks.none(f"{name}: no endpoint was left out for longer than its interval", missing)
    checks.none(f"{name}: no endpoint was scraped twice in an interval", uneven)
    checks.none(f"{name}: every answer was delivered, and nothing else", lost)
    checks.none(f"{name}: no scrape was delivered twice", twice)
    checks.none(f"{name}: the samples themselves carry every number of scrape once", wrong_probe)
    return strangers


def nodes(checks, name, delivered, stand_ins):
    """Every sample about a node, a GPU or a container carries the node of the thing measured."""
    wrong = []
    for endpoint in stand_ins.endpoints:
        if endpoint.job not in ("node-exporter", "dcgm", "cadvisor"):
            continue
        found = {node for _, node in delivered.nodes[endpoint.job][endpoint.instance_label]}
        if found and found != {endpoint.node}:
            wrong.append((endpoint.job, endpoint.instance, endpoint.node, found))
    checks.none(f"{name}: `node` is the node of the thing measured", wrong)


def keys(checks, name, delivered, writers=1, watchers=1):
    """Keys increase in the order of the uploads, and no sequence number is missing; `writers` wrote those of metrics, and
    `watchers` those of events. Gives the keys by writer, of both streams."""
    checks.none(f"{name}: every key is of metrics or of events", delivered.strange)
    of_all = [entry["Key"] for entry in delivered.listing]
    hidden = [entry["Key"] for entry in delivered.listing_of_events if any(entry["Key"] >= key for key in of_all)]
    checks.none(f"{name}: every key of events lies below every key of metrics", hidden)
    found = ordered(checks, f"{name}: metrics", delivered.listing, writers)
    return found, ordered(checks, f"{name}: events", delivered.listing_of_events, watchers)


def ordered(checks, name, listing, writers):
    """The same of one stream."""
    uploaded = sorted(listing, key=lambda entry: (entry["LastModified"], entry["Key"]))
    by_writer = defaultdict(list)
    for entry in uploaded:
        by_writer[entry["Key"].rsplit("/", 1)[1].split("-")[0]].append(entry["Key"])
    checks.equal(f"{name}: number of writers", len(by_writer), writers)
    checks.none(f"{name}: the keys of a writer increase in the order of upload",
                [found for found in by_writer.values() if found != sorted(found)])
    gaps = []
    for found in by_writer.values():
        numbers = [int(key.rsplit("-", 1)[1].split(".")[0]) for key in found]
        gaps += [pair for pair in itertools.pairwise(numbers) if pair[1] != pair[0] + 1]
    checks.none(f"{name}: no sequence number is missing", gaps)
    return by_writer
