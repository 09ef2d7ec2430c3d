-- Reads objects that the queue has not read: those that check.sql calls lost, or a bucket's past that a queue was told to begin
-- behind. The parameters are those of tables.sql, and METRICS_OBJECTS, which objects below METRICS_URL. Samples that are there
-- already are merged away, so that too many do no harm but to the minutes: check.sql then says what came twice, and minutes.sql sets
-- its minutes right.
--
--   METRICS_OBJECTS='17953{0..4}*/*.parquet' ... envsubst < deploy/clickhouse/backfill.sql | clickhouse-client --multiquery

INSERT INTO ${METRICS_DATABASE}.landing
    (timestamp, metric, type, cluster_id, job, instance, namespace, pod, container, node, uid, value, object, labels)
SELECT
    timestamp, metric, type, cluster_id, job, instance, namespace, pod, container, node, uid, value,
    -- The queue's paths have no bucket.
    substring(_path, position(_path, '/') + 1),
    mapConcat(labels, mapFilter((name, text) -> text != '', mapFromArrays(
        arrayMap(name -> trimBoth(name), arrayFilter(name -> name != '', splitByChar(',', '${METRICS_PROMOTED}'))),
        CAST([${METRICS_PROMOTED}], 'Array(String)')
    )))
FROM s3('${METRICS_URL}/${METRICS_OBJECTS}', '${METRICS_KEY}', '${METRICS_SECRET}', 'Parquet')
SETTINGS input_format_parquet_allow_missing_columns = 0;
