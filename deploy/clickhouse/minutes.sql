-- Sets right the minutes of a time in which samples landed twice with different objects, which check.sql tells of, and in which
-- `backfill.sql` has read what was there already. Adds to each such minute what is missing until it is the sum of `samples`, or
-- takes away what is too much: nothing is deleted, run again it finds nothing to do, and on distributed tables it is the same.
-- For times that are over, and of which `samples` still has everything.
--
--   METRICS_DATABASE=metrics METRICS_FROM='2026-11-22 00:00:00' METRICS_TO='2026-11-23 00:00:00' \
--     envsubst < deploy/clickhouse/minutes.sql | clickhouse-client --multiquery

INSERT INTO ${METRICS_DATABASE}.samples_1m (metric, series_id, minute, samples, min, max, sum, first, last)
-- What was taken away once may have to be again, and is no repetition of an insert.
SETTINGS insert_deduplicate = 0
SELECT
    metric, series_id, minute,
    -- A difference below zero wraps around, and so does the sum that it is added to.
    t.samples - k.samples AS samples, t.min AS min, t.max AS max, t.sum - k.sum AS sum, t.first AS first, t.last AS last
FROM
(
    SELECT
        metric, series_id, toStartOfMinute(timestamp, 'UTC') AS minute,
        count() AS samples, min(value) AS min, max(value) AS max, sum(value) AS sum,
        argMinState(value, toUnixTimestamp64Milli(timestamp)) AS first,
        argMaxState(value, toUnixTimestamp64Milli(timestamp)) AS last
    FROM ${METRICS_DATABASE}.samples FINAL
    WHERE isFinite(value)
        AND timestamp >= toStartOfMinute(toDateTime('${METRICS_FROM}', 'UTC'))
        AND timestamp < toStartOfMinute(toDateTime('${METRICS_TO}', 'UTC'))
    GROUP BY metric, series_id, minute
) AS t
GLOBAL LEFT JOIN
(
    SELECT metric, series_id, minute, sum(m.samples) AS samples, sum(m.sum) AS sum
    FROM ${METRICS_DATABASE}.samples_1m AS m
    WHERE minute >= toStartOfMinute(toDateTime('${METRICS_FROM}', 'UTC')) AND minute < toStartOfMinute(toDateTime('${METRICS_TO}', 'UTC'))
    GROUP BY metric, series_id, minute
) AS k USING (metric, series_id, minute)
WHERE t.samples != k.samples;
