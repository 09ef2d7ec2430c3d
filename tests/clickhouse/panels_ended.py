"""What ended in the cluster of the dashboards, and what the panels about it have to say, worked out without SQL."""

from typing import NamedTuple

from generator import events
from generator.panels import EndedLines, EndedNumber
from questions import moment

DAY = 86400
FIELDS = ("timestamp", "cluster_id", "source", "type", "reason", "kind", "namespace", "name", "object_uid", "container", "node",
          "component", "owner_kind", "owner", "uid", "count", "exit_code", "message", "object")
# What a panel leaves out, by its condition.
ONLY = {
    "": lambda row: True,
    events.CONTAINERS: lambda row: row.source == "pod",
    events.EVENTS: lambda row: row.source == "event",
    events.EVICTED: lambda row: row.reason in ("Evicted", "Preempted"),
    "s.reason = 'OOMKilled'": lambda row: row.reason == "OOMKilled",
    "s.reason IN ('BackoffLimitExceeded', 'DeadlineExceeded')": lambda row: row.reason == "BackoffLimitExceeded",
}


class Row(NamedTuple):
    """A row of `events`, by the seconds since the beginning of the time that is filled."""

    second: int
    source: str
    reason: str
    owner_kind: str
    owner: str
    name: str
    uid: str
    count: int = 1
    exit_code: int = 0
    container: str = ""
    cluster: str = "c"


ROWS = (
    # Seen before the time shown, and three times more in it.
    Row(100, "event", "Killing", "Deployment", "web", "web-0", "killing", 2),
    Row(400, "event", "Killing", "Deployment", "web", "web-0", "killing", 3),
    Row(700, "event", "Killing", "Deployment", "web", "web-0", "killing", 7),
    # In one bucket with the one before, whichever its length.
    Row(710, "event", "Killing", "Deployment", "web", "web-0", "killing", 8),
    Row(410, "pod", "OOMKilled", "Job", "train", "train-0", "train-0/main", 1, 137, "main"),
    Row(1000, "pod", "OOMKilled", "Job", "train", "train-0", "train-0/main", 2, 137, "main"),
    Row(2000, "pod", "OOMKilled", "Job", "train", "train-0", "train-0/main", 3, 137, "main"),
    Row(420, "pod", "Error", "Job", "train", "train-1", "train-1/main", 1, 2, "main"),
    Row(430, "pod", "Error", "Job", "train", "train-1", "train-1/main", 2, 1, "main"),
    Row(800, "event", "Evicted", "StatefulSet", "store", "store-0", "evicted", 1),
    Row(810, "event", "Preempted", "StatefulSet", "store", "store-1", "preempted", 1),
    Row(900, "event", "BackoffLimitExceeded", "Job", "train", "train", "backoff", 1),
    # Neither of these ended anything before its time.
    Row(500, "pod", "Completed", "Job", "train", "train-2", "train-2/main", 1, 0, "main"),
    Row(510, "event", "Scheduled", "Job", "train", "train-2", "scheduled", 1),
    Row(450, "pod", "OOMKilled", "Job", "train", "train-0", "train-0/main", 1, 137, "main", "other"),
    Row(400 - DAY, "pod", "OOMKilled", "Job", "train", "train-0", "train-0/old", 1, 137, "main"),
)


def fill(tables, began):
    """All rows, twice, as two agents would have shipped them."""
    values = ", ".join(
        f"('{moment(began + row.second)}', '{row.cluster}', '{row.source}', 'Warning', '{row.reason}', 'Pod', 'ml', '{row.name}', 'u', "
        f"'{row.container}', 'n', 'kubelet', '{row.owner_kind}', '{row.owner}', '{row.uid}', {row.count}, {row.exit_code}, "
        f"'{row.reason} of {row.name}', '{{}}')" for row in ROWS)
    for agent in ("one", "other"):
        tables.query(f"INSERT INTO events_landing ({', '.join(FIELDS)}) VALUES {values.replace('{}', agent)}")


def check(checks, tables, panel, sql, began, query):
    """One panel, whose SQL is expanded."""
    shown = [row for row in ROWS if row.cluster == "c" and query.begin <= began + row.second <= query.end and ONLY[panel.only](row)
             and row.reason not in ("Completed", "Scheduled")]
    times = growth(shown)
    found = tables.query(sql)
    if isinstance(panel, EndedNumber):
        found, expected = [float(row["value"]) for row in found], [sum(times.values())]
    elif isinstance(panel, EndedLines):
        found = {(row["time"], row["series"]): float(row["value"]) for row in found}
        expected = lines(panel, shown, times, began, query.interval)
    elif panel.last:
        found = [(row["Time"], row["name"], row["reason"], int(row["count"]), row["Exit code"], row["Message"]) for row in found]
        expected = [(moment(began + row.second), row.name, row.reason, row.count, str(row.exit_code) if row.source == "pod" else "",
                     f"{row.reason} of {row.name}") for row in sorted(shown, reverse=True)]
    else:
        found = [tuple(str(row[name]) for name in (*panel.by, "Times", "Pods", "Exit codes", "Last")) for row in found]
        expected = table(panel, shown, times, began)
    checks.that(f"dashboards: events, {query.interval} s: {panel.title}: there is something", expected)
    checks.equal(f"dashboards: events, {query.interval} s: {panel.title}", found, expected)


def growth(rows):
    """`{row: how often}`: an event's count goes on from row to row, and each end of a container is one."""
    found, before = {}, {}
    for row in sorted(rows, key=lambda row: row.count):
        found[row] = row.count - before[row.uid] if row.source == "event" and row.uid in before else 1
        before[row.uid] = row.count
    return found


def lines(panel, rows, times, began, interval):
    """`{(bucket, series): how often}`."""
    found = {}
    for row in rows:
        bucket = (began + row.second) // interval * interval
        series = panel.legend.format(namespace="ml", owner=row.owner, reason=row.reason)
        key = (moment(bucket).removesuffix(".000"), series)
        found[key] = found.get(key, 0) + times[row]
    return found


def table(panel, rows, times, began):
    """Rows of the table by owner and reason."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple("ml" if name == "namespace" else getattr(row, name) for name in panel.by), []).append(row)
    found = []
    for group, members in groups.items():
        codes = sorted({row.exit_code for row in members if row.source == "pod"})
        found.append((*group, str(sum(times[row] for row in members)), str(len({row.name for row in members})),
                      ", ".join(map(str, codes)), moment(began + max(row.second for row in members))))
    return sorted(found, key=lambda row: (-int(row[len(panel.by)]), row))
