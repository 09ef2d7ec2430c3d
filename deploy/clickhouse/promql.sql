-- For whoever asks in PromQL: everything that lands goes to a table of the engine `TimeSeries` too. Optional, and experimental in
-- ClickHouse itself. The parameters are those of tables.sql, which comes first; run it again at any time.
--
--   METRICS_DATABASE=metrics METRICS_DAYS=30 envsubst < deploy/clickhouse/promql.sql | clickhouse-client --multiquery
--
-- Then ask, with the server's own build (an embedded engine cannot parse PromQL):
--   SELECT * FROM prometheusQuery('metrics', 'prometheus', 'sum by (node) (rate(node_network_receive_bytes_total[5m]))', now64(3));

SET allow_experimental_time_series_table = 1;

CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.prometheus
ENGINE = TimeSeries
-- Samples that come twice are merged away here as well.
SAMPLES INNER ENGINE = ReplacingMergeTree
PARTITION BY toDate(timestamp)
ORDER BY (id, timestamp)
TTL toDateTime(timestamp) + INTERVAL ${METRICS_DAYS} DAY;

CREATE OR REPLACE MATERIALIZED VIEW ${METRICS_DATABASE}.to_prometheus TO ${METRICS_DATABASE}.prometheus AS
SELECT
    metric AS metric_name, samples,
    mapConcat(CAST(others, 'Map(String, String)'), mapFilter((name, text) -> text != '', columns)) AS tags
FROM
(
    SELECT
        metric, series_id, any(labels) AS others, groupArray((timestamp, value)) AS samples,
        any(map(
            'cluster_id', CAST(cluster_id, 'String'), 'job', CAST(job, 'String'), 'instance', CAST(instance, 'String'),
            'namespace', CAST(namespace, 'String'), 'pod', CAST(pod, 'String'), 'container', CAST(container, 'String'),
            'node', CAST(node, 'String'), 'uid', uid
        )) AS columns
    FROM ${METRICS_DATABASE}.landing
    GROUP BY metric, series_id
);
