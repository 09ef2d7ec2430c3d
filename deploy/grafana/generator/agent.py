"""The agent itself, by its own metrics: what it ships, what it drops and why, its spool, uploads and credentials, and all its targets."""

from .panels import Board, Lines, Number, Row, Table, Variable

DROPPED = "sum(increase(agent_samples_dropped_total)) + sum(increase(agent_spool_dropped_samples_total))"
OWN = "{instance}"

NOW = Row("Now", open=True, panels=[
    Number("Delivered, samples a second", "short", {"delivered": "sum(rate(agent_samples_uploaded_total))"}, width=4),
    Number("Dropped, last 5 minutes", "short", {"dropped": DROPPED}, width=4, bounds=(1, 1000)),
    Number("Spool", "percent", {"full": "100 * max(agent_spool_bytes) / max(agent_spool_bytes_max)"}, width=4, bounds=(50, 80)),
    Number("Oldest object on disk", "s", {"age": "max(agent_spool_oldest_age_seconds)"}, width=4, bounds=(120, 900)),
    Number("Uploading stopped", "bool_yes_no", {"stopped": "max(agent_upload_stopped)"}, width=4, bounds=(1, 1)),
    Number("Targets that answer", "percent", {"answer": "100 * avg(up)"}, width=4),
])

SHIPPED = Row("Samples", open=True, panels=[
    Lines("Samples", "short", {
        "scraped": "sum(rate(agent_samples_scraped_total))", "reported": "sum(rate(agent_samples_reported_total))",
        "in objects": "sum(rate(agent_samples_sealed_total))", "delivered": "sum(rate(agent_samples_uploaded_total))",
    }, "A second.", min=0),
    Lines("Dropped before an object, by reason", "short", {"{reason}": "sum(increase(agent_samples_dropped_total))"}, "In each bucket.",
          stack="normal", min=0),
    Lines("Dropped with an object, by reason", "short", {"{reason}": "sum(increase(agent_spool_dropped_samples_total))"},
          "In each bucket.", stack="normal", min=0),
    Lines("Scrapes refused or skipped, and bad lines", "short", {
        "refused": "sum(increase(agent_scrapes_refused_total))", "skipped": "sum(increase(agent_scrapes_skipped_total))",
        "bad lines": "sum(increase(agent_lines_bad_total))",
    }, "In each bucket.", min=0),
    Lines("Objects", "opm", {
        "sealed": "60 * sum(rate(agent_objects_sealed_total))", "delivered": "60 * sum(rate(agent_objects_uploaded_total))",
    }, min=0),
    Lines("Bytes", "Bps", {
        "answers": "sum(rate(agent_scrape_body_bytes_total))", "objects": "sum(rate(agent_object_bytes_total))",
        "delivered": "sum(rate(agent_bytes_uploaded_total))",
    }, min=0),
    Lines("Bytes of a sample in an object", "bytes", {
        "size": "sum(rate(agent_object_bytes_total)) / sum(rate(agent_samples_sealed_total))",
    }, min=0),
    Lines("Series and open batch", "short", {
        "series": "sum(agent_series)", "samples in the open batch": "sum(agent_batch_samples)",
    }, min=0),
])

SPOOL = Row("Spool and journal", open=True, panels=[
    Lines("Spool", "bytes", {f"{OWN}": "max(agent_spool_bytes)", f"{OWN} limit": "max(agent_spool_bytes_max)"}, limit=".*limit", min=0),
    Lines("Objects on disk", "short", {OWN: "max(agent_spool_objects)"}, min=0),
    Lines("Age of the oldest object on disk", "s", {OWN: "max(agent_spool_oldest_age_seconds)"}, min=0),
    Lines("Failures of the disk", "short", {
        "writes to the spool": "sum(increase(agent_spool_write_errors_total))",
        "reads of the spool": "sum(increase(agent_spool_read_errors_total))", "journal": "sum(increase(agent_journal_errors_total))",
    }, "In each bucket.", min=0),
    Lines("Journal", "Bps", {"written": "sum(rate(agent_journal_bytes_total))"}, min=0),
    Lines("Time of a commit", "s", {
        "mean": "sum(rate(agent_journal_commit_seconds_sum)) / sum(rate(agent_journal_commit_seconds_count))",
    }, min=0),
])

SLOW = "100 * (1 - sum(rate(agent_upload_duration_seconds_bucket{{le='{}'}})) / sum(rate(agent_upload_duration_seconds_count)))"
UPLOAD = Row("Uploads and credentials", open=True, panels=[
    Lines("Time of an upload", "s", {
        "mean": "sum(rate(agent_upload_duration_seconds_sum)) / sum(rate(agent_upload_duration_seconds_count))",
    }, min=0),
    Lines("Uploads slower than", "percent", {f"{bound} s": SLOW.format(bound) for bound in ("0.5", "2.5", "10")}, min=0, max=100),
    Lines("From sealing to delivery", "s", {OWN: "max(agent_upload_lag_seconds)"}, min=0),
    Lines("Errors, by class", "short", {"{class}": "sum(increase(agent_upload_errors_total))"}, "In each bucket.", stack="normal", min=0),
    Lines("Waiting between attempts", "percentunit", {OWN: "max(rate(agent_retry_wait_seconds_total))"}, "Share of the time.",
          min=0, max=1),
    Lines("Late confirmations", "short", {"objects": "sum(increase(agent_uploads_confirmed_late_total))"}, "In each bucket.", min=0),
    Lines("Credentials: attempts", "short", {"{result}": "sum(increase(agent_credentials_refreshes_total))"}, "In each bucket.",
          stack="normal", min=0),
    Lines("Credentials: expire at", "dateTimeAsIso", {OWN: "max(agent_credentials_expiry_timestamp_seconds) * 1000"}),
    Lines("Servers' time less the local one", "s", {OWN: "max(agent_clock_offset_seconds)"}),
    Lines("Last delivery and last key", "dateTimeAsIso", {
        f"{OWN} delivery": "max(agent_last_upload_timestamp_seconds) * 1000", f"{OWN} key": "max(agent_last_key_timestamp_seconds) * 1000",
    }),
])

TARGETS = Row("Targets", open=True, panels=[
    Lines("Scrapes, by result", "short", {"{result}": "sum(increase(agent_scrapes_total))"}, "In each bucket.", stack="normal", min=0),
    Lines("Targets that answered, by job", "percent", {"{job}": "100 * avg(up)"}, min=0, max=100),
    Lines("Time of an answer, by job", "s", {
        "{job}": "avg(scrape_duration_seconds)", "{job} slowest": "max(highest(scrape_duration_seconds))",
    }, min=0),
    Lines("Samples of a scrape, by job", "short", {"{job}": "sum(scrape_samples_scraped)"}, stack="normal", min=0),
    Table("Targets", "percent", {
        "Failed": "100 * (1 - avg(up))", "Seconds": "avg(scrape_duration_seconds)", "Slowest": "max(highest(scrape_duration_seconds))",
        "Samples": "max(highest(scrape_samples_scraped))",
    }, by=("job", "instance"), units={"Seconds": "s", "Slowest": "s", "Samples": "short"}),
])

PROCESS = Row("Process", [
    Lines("CPU", "percentunit", {OWN: "rate(process_cpu_seconds_total{job='agent'})"}, min=0),
    Lines("Memory", "bytes", {OWN: "process_resident_memory_bytes{job='agent'}"}, min=0),
    Lines("File descriptors", "short", {
        OWN: "process_open_fds{job='agent'}", f"{OWN} limit": "process_max_fds{job='agent'}",
    }, limit=".*limit", min=0),
    Lines("Leader", "bool_yes_no", {OWN: "max(agent_leader)"}, min=0, max=1),
    Lines("Discovery: refused and failed", "short", {
        "refused, {kind}": "sum(increase(agent_discovery_refused_total))",
        "failed, {kind}": "sum(increase(agent_discovery_failures_total))",
    }, "In each bucket.", min=0),
    Lines("Targets found", "short", {"{exported_job} {state}": "sum(agent_targets)"}, min=0),
])

BOARD = Board(
    "cedana-agent", "cedana-agent", "The agent itself, by its own metrics, and its targets.",
    [NOW, SHIPPED, SPOOL, UPLOAD, TARGETS, PROCESS],
    [Variable("cluster", "cluster_id", ("agent_build_info",))],
)
