"""Why pods and containers ended, of the rows that the agent's own watch ships; and how many events the event-exporter has seen and
passed on. What an event said is not in its metrics."""

from .panels import Board, EndedLines, EndedNumber, EndedTable, Lines, Number, Row, Variable

# A kubelet says of a pod's containers how they ended; the others say it in events.
CONTAINERS, EVENTS = "s.source = 'pod'", "s.source = 'event'"
EVICTED = "s.reason IN ('Evicted', 'TaintManagerEviction', 'Preempting', 'Preempted', 'NodeShutdown')"

ENDED = Row("What ended", open=True, panels=[
    EndedNumber("Containers ended", "short", only=CONTAINERS, about="Those that completed left out.", width=6),
    EndedNumber("Out of memory", "short", only="s.reason = 'OOMKilled'", width=6, bounds=(1, 10)),
    EndedNumber("Evicted or preempted", "short", only=EVICTED, width=6, bounds=(1, 10)),
    EndedNumber("Jobs given up", "short", only="s.reason IN ('BackoffLimitExceeded', 'DeadlineExceeded')", width=6, bounds=(1, 10)),
    EndedLines("Containers ended, by reason", "short", only=CONTAINERS, min=0),
    EndedLines("Evictions and other events, by reason", "short", only=EVENTS, min=0),
    EndedLines("What ended, by owner", "short", legend="{namespace}/{owner}", width=24, most=20, min=0,
               about="Of more owners than 20 those of which most ended."),
    EndedTable("Why it ended, by owner", "short", by=("namespace", "owner_kind", "owner", "reason")),
    EndedTable("The last that ended", "short", last=100,
               by=("namespace", "name", "container", "node", "owner_kind", "owner", "reason", "count")),
])

SEEN = Row("Events", open=True, panels=[
    Number("Passed on, a minute", "short", {"sent": "60 * sum(rate(events_sent))"}, width=6),
    Number("Too old, a minute", "short", {"discarded": "60 * sum(rate(events_discarded))"}, width=6, bounds=(1, 10)),
    Number("Not passed on, a minute", "short", {"failed": "60 * sum(rate(send_event_errors))"}, width=6, bounds=(0.01, 1)),
    Number("Failed watches, a minute", "short", {"failed": "60 * sum(rate(watch_errors))"}, width=6, bounds=(0.01, 1)),
    Lines("Events", "eps", {"passed on": "sum(rate(events_sent))", "too old": "sum(rate(events_discarded))"}, min=0),
    Lines("Errors", "eps", {"not passed on": "sum(rate(send_event_errors))", "failed watches": "sum(rate(watch_errors))"}, min=0),
    Lines("Events of the time shown", "short", {"passed on": "sum(increase(events_sent))"}, "In each bucket.", min=0),
    Lines("Look-ups of objects", "ops", {
        "in the cache": "sum(rate(kube_api_read_cache_hits))", "at the API server": "sum(rate(kube_api_read_cache_misses))",
    }, stack="normal", min=0),
])

HEALTH = Row("Exporter", open=True, panels=[
    Lines("Answered", "bool_yes_no", {"{instance}": "min(lowest(up{job='event-exporter'}))"}, min=0, max=1),
    Lines("Time of an answer", "s", {"{instance}": "scrape_duration_seconds{job='event-exporter'}"}, min=0),
])

BOARD = Board(
    "cedana-events", "Kubernetes events",
    "What ended: rows of Kubernetes events and of pods' states (events.sql, and KUBERNETES_EVENTS of the agent). Below, the event-exporter's "
    "own counters.", [ENDED, SEEN, HEALTH],
    [Variable("cluster", "cluster_id", ("events_sent", "kube_events_total"))],
    # The event-exporter is asked every half minute.
    interval="1m",
)
