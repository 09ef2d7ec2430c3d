-- Is everything there, and once? The parameters are those of tables.sql, and how long an object may take. Both answers are empty
-- where all is well.
--
--   METRICS_PATIENCE='5 MINUTE' ... envsubst < deploy/clickhouse/check.sql | clickhouse-client --multiquery

-- Objects in the bucket that no row came from, of the days that `landing` keeps: the queue passed them by, or refused them, or
-- had read the same bytes under another key; `system.s3queue_log` says which. Nothing is read of them but their names.
SELECT DISTINCT substring(_path, position(_path, '/') + 1) AS lost_object
FROM s3('${METRICS_URL}/*/*.parquet', '${METRICS_KEY}', '${METRICS_SECRET}', 'One')
WHERE lost_object GLOBAL NOT IN (SELECT object FROM ${METRICS_DATABASE}.landing)
  AND toUInt64OrZero(splitByChar('/', lost_object)[-2]) BETWEEN toUnixTimestamp(now() - INTERVAL 2 DAY)
                                                            AND toUnixTimestamp(now() - INTERVAL ${METRICS_PATIENCE})
ORDER BY lost_object;

-- Objects whose samples came once before, with another object, and of what time they are: minutes.sql sets its minutes right.
SELECT object AS repeated_object, count() AS repeated_samples, min(timestamp) AS first, max(timestamp) AS last
FROM ${METRICS_DATABASE}.landing
WHERE (metric, series_id, timestamp) GLOBAL IN
(
    SELECT metric, series_id, timestamp
    FROM ${METRICS_DATABASE}.landing
    GROUP BY metric, series_id, timestamp
    HAVING uniqExact(object) > 1
)
GROUP BY object
ORDER BY object;
