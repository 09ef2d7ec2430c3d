-- One view over the rows that Vector's objects gave, until a moment, and over the agent's from then on: `rows_across`, for whoever asked
-- the old table. Neither a gap nor anything twice, as long as both had shipped everything around that moment. Run it again with other
-- moments to move them; with a second one it goes back to the old rows there, with a third to the agent's again.
--
--   METRICS_OLD_ROWS: the old table or view, with columns name, tags, timestamp, kind, type, value
--   METRICS_CUT: the moments, UTC, in order, separated by commas
--
--   METRICS_DATABASE=metrics METRICS_OLD_ROWS=default.vector_metrics METRICS_CUT='2026-11-22 12:00:00' \
--     envsubst < deploy/clickhouse/cut_over.sql | clickhouse-client --multiquery

CREATE OR REPLACE VIEW ${METRICS_DATABASE}.rows_across AS
WITH arrayMap(moment -> toDateTime64(trimBoth(moment), 3, 'UTC'), splitByChar(',', '${METRICS_CUT}')) AS cuts
SELECT
    -- In one order, so that maps of equal tags are equal.
    CAST(name, 'String') AS name, mapSort(CAST(tags, 'Map(String, String)')) AS tags, toDateTime64(timestamp, 3, 'UTC') AS timestamp,
    CAST(kind, 'String') AS kind, CAST(type, 'String') AS type, toFloat64(value) AS value
FROM ${METRICS_OLD_ROWS} AS o
WHERE arrayCount(cut -> o.timestamp >= cut, cuts) % 2 = 0
UNION ALL
WITH arrayMap(moment -> toDateTime64(trimBoth(moment), 3, 'UTC'), splitByChar(',', '${METRICS_CUT}')) AS cuts
SELECT
    CAST(name, 'String') AS name, CAST(tags, 'Map(String, String)') AS tags, toDateTime64(timestamp, 3, 'UTC') AS timestamp,
    CAST(kind, 'String') AS kind, CAST(type, 'String') AS type, toFloat64(value) AS value
FROM ${METRICS_DATABASE}.vector_rows AS n
WHERE arrayCount(cut -> n.timestamp >= cut, cuts) % 2 = 1;
