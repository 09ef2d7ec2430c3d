"""A cluster for the dashboards: recorded and documented expositions, as two nodes and their pods would have answered them for half an hour.

Every counter begins again once, at a moment of its own. A second cluster has the first and the last series of each metric under the same
names, so that a query that forgets the cluster is wrong.
"""

import pathlib
import re
import zlib
from typing import NamedTuple

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
STEP, COUNT = 30, 60
NODES = ("node-a", "node-b")
CLUSTERS = ("c", "other")
# Job, exposition, seconds between scrapes, and whether what it exposes wins over the target's own labels.
EXPORTERS = (
    ("node-exporter", "node_exporter.txt", 30, False),
    ("node-exporter", "dashboards/node_exporter_more.txt", 30, False),
    ("dcgm", "dashboards/dcgm_exporter.txt", 30, False),
    ("cadvisor", "dashboards/cadvisor.txt", 60, True),
    ("kube-state-metrics", "dashboards/kube_state_metrics.txt", 30, False),
    ("event-exporter", "dashboards/event_exporter.txt", 30, False),
    ("agent", "dashboards/agent.txt", 30, False),
)
REPORTED = ("up", "scrape_duration_seconds", "scrape_samples_scraped")
LINE = re.compile(r"([\w:]+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Series(NamedTuple):
    """`labels` has the promoted ones too; `samples` are (second, value)."""

    metric: str
    kind: str
    labels: dict
    samples: list


def exposition(name):
    """`(metric, type, labels, value)` of each line of a file; the series of a histogram are counters."""
    kind = {}
    for line in (DATA / name).read_text("utf-8").splitlines():
        if line.startswith("# TYPE "):
            family, kind_of_family = line.split()[2:]
            kind[family] = kind_of_family
        match = LINE.match(line) if not line.startswith("#") else None
        if match:
            metric, labels, value = match.groups()
            family = metric if metric in kind else re.sub("_(bucket|sum|count)$", "", metric)
            plain = "counter" if kind[family] in ("histogram", "summary") else kind[family]
            yield metric, plain, dict(LABEL.findall(labels or "")), float(value)


def cluster(began, wanted):
    """All series of the metrics that are wanted."""
    found = [made(began, one, *line) for one in targets() for line in lines_of(one) if line[0] in wanted]
    found += [reported(began, one, metric) for one in {one[0]: one for one in targets_by_instance()}.values() for metric in REPORTED]
    first = {series.metric: series for series in reversed(found)}
    last = {series.metric: series for series in found}
    others = [last[metric] for metric in last] + [one for metric, one in first.items() if one is not last[metric]]
    return found + [series._replace(labels=series.labels | {"cluster_id": CLUSTERS[1]}) for series in others]


def targets():
    """`(job, file, seconds, honoured, node)`: node-exporter answers on both nodes, the others say themselves what they speak of."""
    for job, name, seconds, honoured in EXPORTERS:
        for node in NODES if job == "node-exporter" else ("",):
            yield job, name, seconds, honoured, node


def targets_by_instance():
    for job, _, _, _, node in targets():
        yield (job, node), job, node


def lines_of(target):
    return exposition(target[1])


def made(began, target, metric, kind, exposed, base):
    """A series with its samples."""
    job, _, seconds, honoured, node = target
    own = {"cluster_id": CLUSTERS[0], "job": job}
    place = node or exposed.get("node", "")
    if not honoured or "instance" not in exposed:
        own["instance"] = f"{place or job}:9100"
    if place:
        own["node"] = place
    # What the target is called wins, unless labels are honoured; what it exposed goes on under another name.
    labels = {f"exported_{name}" if name in own and name != "node" else name: text for name, text in exposed.items()} | own
    seed = zlib.crc32(repr((metric, sorted(labels.items()))).encode())
    offset = 10 if place == NODES[1] else 0
    numbers = range(0, COUNT, seconds // STEP)
    if exposed.get("id", "").endswith("first"):
        numbers = range(0, COUNT // 2, seconds // STEP)
    if exposed.get("id", "").endswith("second"):
        numbers = range(COUNT // 2, COUNT, seconds // STEP)
    value = counted if kind == "counter" or counts(metric) else measured
    return Series(metric, kind, labels, [(began + offset + STEP * number, value(seed, number, base)) for number in numbers])


def counts(metric):
    """Whether something that node-exporter calls untyped counts."""
    return re.match("node_(vmstat|netstat)_", metric) and not re.search("(CurrEstab|MaxConn)$", metric)


def counted(seed, number, _):
    """By another amount at each step, and from nothing again at a moment of its own after the middle."""
    begin = COUNT // 2 + seed % 5 if number >= COUNT // 2 + seed % 5 else 0
    return sum((1 + seed % 9) * (1 + step % 3) for step in range(begin, number + 1))


def measured(seed, number, base):
    """Up to 6 % above what is recorded, and not always nothing."""
    if base == 1:
        return 1 if number % 10 else 0
    return base * (1 + 0.01 * ((seed + number) % 7)) + (seed + number) % 3


def reported(began, target, metric):
    """What a scrape says of itself; every tenth of node b failed."""
    _, job, node = target
    labels = {"cluster_id": CLUSTERS[0], "job": job, "instance": f"{node or job}:9100"} | ({"node": node} if node else {})
    values = {"up": lambda number: 0 if node == NODES[1] and number % 10 == 9 else 1,
              "scrape_duration_seconds": lambda number: 0.25 + number % 4 / 100, "scrape_samples_scraped": lambda number: 1311 + number % 3}
    return Series(metric, "gauge", labels, [(began + STEP * number, values[metric](number)) for number in range(COUNT)])
