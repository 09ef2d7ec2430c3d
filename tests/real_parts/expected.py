"""What the objects must hold: samples of the bodies that the exporter served, read by Python's `prometheus_client`."""

import struct

from prometheus_client.parser import text_string_to_metric_families

# The series that the agent adds to every scrape.
REPORT = {
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_body_size_bytes",
}
# Prometheus' stale marker, the one NaN that means something (prometheus/model/value).
STALE = 0x7FF0000000000002


def bits(value):
    """The value's 64 bits, all ordinary NaN alike: text has only one."""
    raw = struct.unpack("<Q", struct.pack("<d", value))[0]
    return "NaN" if value != value and raw != STALE else raw


def series(labels):
    """Labels as a comparable value; an empty label is an absent one."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def samples_of(text, target):
    """`{(metric, type, series): bits}` of one exposition scraped from a target with these labels.

    Labels of the exposition that clash with the target's get the prefix `exported_` (honor_labels: false).
    A repeated series is an error of the exporter, and raises.
    """
    found = {}
    for family in text_string_to_metric_families(text):
        # This parser names a counter's samples `x_total` even where the text says `x`.
        added = family.type == "counter" and f"# TYPE {family.name} counter\n" in text
        for sample in family.samples:
            metric = sample.name.removesuffix("_total") if added else sample.name
            labels = {(f"exported_{name}" if name in target else name): value for name, value in sample.labels.items()}
            key = (metric, family.type, series({**labels, **target}))
            if sample.timestamp is not None or key in found:
                raise ValueError(f"the exporter repeats a series or stamps it: {key}")
            found[key] = bits(sample.value)
    return found


def differences(expected, found):
    """What is missing, what is too much, what has another value."""
    missing = [("missing", key) for key in expected.keys() - found.keys()]
    extra = [("not served", key) for key in found.keys() - expected.keys()]
    changed = [
        ("other value", key, expected[key], found[key])
        for key in expected.keys() & found.keys()
        if expected[key] != found[key]
    ]
    return missing + extra + changed
