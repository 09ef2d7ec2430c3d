"""The event-exporter: how many of the cluster's events it has seen and passed on. What an event said is not in its metrics."""

from .panels import Board, Lines, Number, Row, Variable

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
    "cedana-events", "Kubernetes events", "The event-exporter's own counters.", [SEEN, HEALTH],
    [Variable("cluster", "cluster_id", ("events_sent",))],
    # The event-exporter is asked every half minute.
    interval="1m",
)
