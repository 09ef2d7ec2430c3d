-- One view over the rows that Vector's objects gave, until a moment, and over the agent's from then on: `rows_across`, for whoever asked
-- the old table. Neither a gap nor anything twice, while both run. Run it again with another moment to move it, with a moment far
-- ahead to go back.
--
--   METRICS_OLD_ROWS: the old table or view, with columns name, tags, timestamp, kind, type, value
--   METRICS_CUT: the moment, UTC
--
--   METRICS_DATABASE=metrics METRICS_OLD_ROWS=default.vector_metrics METRICS_CUT='2026-11-22 12:00:00' \
--   envsubst < deploy/clickhouse/cut_over.sql | clickhouse-client --multiquery

CREATE OR REPLACE VIEW ${METRICS_DATABASE}.rows_across AS
SELECT
    CAST(name, 'String') AS name, CAST(tags, 'Map(String, String)') AS tags, toDateTime64(timestamp, 3, 'UTC') AS timestamp,
    CAST(kind, 'String') AS kind, CAST(type, 'String') AS type, toFloat64(value) AS value
FROM ${METRICS_OLD_ROWS}
WHERE timestamp < toDateTime64('${METRICS_CUT}', 3, 'UTC')
UNION ALL
SELECT
    CAST(name, 'String') AS name, CAST(tags, 'Map(String, String)') AS tags, toDateTime64(timestamp, 3, 'UTC') AS timestamp,
    CAST(kind, 'String') AS kind, CAST(type, 'String') AS type, toFloat64(value) AS value
FROM ${METRICS_DATABASE}.vector_rows
WHERE timestamp >= toDateTime64('${METRICS_CUT}', 3, 'UTC');
