-- The tables that the agent's objects flow through, for one ClickHouse server. Run it again at any time, for another version of it
-- as well: tables stay with what they hold, views become those of this file, and nothing is lost meanwhile.
--
--   METRICS_DATABASE=metrics METRICS_URL=https://BUCKET.s3.REGION.amazonaws.com/PREFIX \
--   METRICS_KEY=... METRICS_SECRET=... METRICS_KEEPER_PATH=/clickhouse/s3queue/metrics \
--   METRICS_QUEUE="mode = 'ordered', buckets = 1" METRICS_DAYS=30 METRICS_ROLLUP_DAYS=400 \
--   METRICS_PROMOTED= \
--   envsubst < deploy/clickhouse/tables.sql | clickhouse-client --multiquery
--
-- METRICS_URL is one agent's prefix: one queue over the prefixes of several would let one hide the objects of another. Where
-- several agents write below one prefix, METRICS_QUEUE is what `agent schema` prints for `ingestion: partitioned`.
-- METRICS_PROMOTED are the labels of `parquet.promote`, separated by commas; promote.sql makes room for one.

CREATE DATABASE IF NOT EXISTS ${METRICS_DATABASE};

-- What arrived lately, as it arrived, with the object that it came from. Everything else is made from this table.
CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.landing
(
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `metric` LowCardinality(String),
    `type` LowCardinality(String),
    `cluster_id` LowCardinality(String),
    `job` LowCardinality(String),
    `instance` LowCardinality(String),
    `namespace` LowCardinality(String),
    `pod` LowCardinality(String),
    `container` LowCardinality(String),
    `node` LowCardinality(String),
    `uid` String,
    -- All others.
    `labels` Map(LowCardinality(String), String),
    `value` Float64,
    -- Its key in the bucket.
    `object` LowCardinality(String),
    -- By this it is kept, and not by the time of the samples, which may have waited for days on the agent's disk.
    `arrived` DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD(1)),
    -- What a series is: its metric and all its labels. A sum, so that a label that moves into a column makes no other series.
    `series_id` UInt64 MATERIALIZED sipHash64(metric)
        + arraySum(arrayMap((name, text) -> sipHash64(name, text), mapKeys(labels), mapValues(labels)))
        + if(cluster_id = '', 0, sipHash64('cluster_id', cluster_id)) + if(job = '', 0, sipHash64('job', job))
        + if(instance = '', 0, sipHash64('instance', instance)) + if(namespace = '', 0, sipHash64('namespace', namespace))
        + if(pod = '', 0, sipHash64('pod', pod)) + if(container = '', 0, sipHash64('container', container))
        + if(node = '', 0, sipHash64('node', node)) + if(uid = '', 0, sipHash64('uid', uid))
)
ENGINE = MergeTree
PARTITION BY toDate(arrived)
-- Within an object as it came: series by series, which is also what compresses best.
ORDER BY object
TTL arrived + INTERVAL 3 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- Every sample once, by its series. Rows that came twice are merged away; ask with FINAL where one that has not been merged yet
-- would count.
CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.samples
(
    `metric` LowCardinality(String),
    `series_id` UInt64,
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `value` Float64 CODEC(FPC(12), ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(timestamp)
ORDER BY (metric, series_id, timestamp)
TTL toDateTime(timestamp) + INTERVAL ${METRICS_DAYS} DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- Every series, all its labels, and when it was first and last seen, the latter to the hour.
CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.series
(
    `metric` LowCardinality(String),
    `series_id` UInt64,
    `type` SimpleAggregateFunction(anyLast, LowCardinality(String)),
    `cluster_id` SimpleAggregateFunction(any, LowCardinality(String)),
    `job` SimpleAggregateFunction(any, LowCardinality(String)),
    `instance` SimpleAggregateFunction(any, LowCardinality(String)),
    `namespace` SimpleAggregateFunction(any, LowCardinality(String)),
    `pod` SimpleAggregateFunction(any, LowCardinality(String)),
    `container` SimpleAggregateFunction(any, LowCardinality(String)),
    `node` SimpleAggregateFunction(any, LowCardinality(String)),
    `uid` SimpleAggregateFunction(any, String),
    `labels` SimpleAggregateFunction(any, Map(String, String)),
    `first_seen` SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    `last_seen` SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (metric, series_id)
TTL toDateTime(last_seen) + INTERVAL ${METRICS_DAYS} DAY;

-- Every minute of every series, in whatever order its samples came. It is made of rows as they land. What lands a second time with another
-- object (after a backfill of what was read, or an exporter's own timestamps after a restart of the agent) counts twice in `samples`
-- and `sum`, and so weighs double in an average; the other columns are right all the same, and so are the table of samples, the hours
-- and `growth`. minutes.sql sets it right.
CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.samples_1m
(
    `metric` LowCardinality(String),
    `series_id` UInt64,
    `minute` DateTime('UTC') CODEC(Delta, ZSTD(1)),
    `samples` SimpleAggregateFunction(sum, UInt64),
    `min` SimpleAggregateFunction(min, Float64),
    `max` SimpleAggregateFunction(max, Float64),
    `sum` SimpleAggregateFunction(sum, Float64),
    `first` AggregateFunction(argMin, Float64, Int64),
    `last` AggregateFunction(argMax, Float64, Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toMonth(minute)
ORDER BY (metric, series_id, minute)
TTL minute + INTERVAL ${METRICS_ROLLUP_DAYS} DAY
SETTINGS non_replicated_deduplication_window = 10000;

-- Every hour of every series, as it was last computed.
CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.samples_1h
(
    `metric` LowCardinality(String),
    `series_id` UInt64,
    `hour` DateTime('UTC') CODEC(Delta, ZSTD(1)),
    `samples` UInt64,
    `min` Float64,
    `max` Float64,
    `avg` Float64,
    `first` Float64,
    `last` Float64,
    `increase` Float64,
    `computed` DateTime('UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed)
PARTITION BY toMonth(hour)
ORDER BY (metric, series_id, hour)
TTL hour + INTERVAL ${METRICS_ROLLUP_DAYS} DAY;

CREATE OR REPLACE MATERIALIZED VIEW ${METRICS_DATABASE}.to_samples TO ${METRICS_DATABASE}.samples AS
SELECT metric, series_id, timestamp, value
FROM ${METRICS_DATABASE}.landing;

CREATE OR REPLACE MATERIALIZED VIEW ${METRICS_DATABASE}.to_series TO ${METRICS_DATABASE}.series AS
SELECT
    metric, series_id, type, cluster_id, job, instance, namespace, pod, container, node, uid, first_seen, last_seen,
    mapSort(mapConcat(CAST(others, 'Map(String, String)'), mapFilter((name, text) -> text != '', map(
        'cluster_id', CAST(cluster_id, 'String'), 'job', CAST(job, 'String'), 'instance', CAST(instance, 'String'),
        'namespace', CAST(namespace, 'String'), 'pod', CAST(pod, 'String'), 'container', CAST(container, 'String'),
        'node', CAST(node, 'String'), 'uid', uid
    )))) AS labels
FROM
(
    SELECT
        metric, series_id,
        anyLast(type) AS type, any(cluster_id) AS cluster_id, any(job) AS job, any(instance) AS instance,
        any(namespace) AS namespace, any(pod) AS pod, any(container) AS container, any(node) AS node, any(uid) AS uid,
        any(labels) AS others, min(timestamp) AS first_seen, max(timestamp) AS last_seen
    FROM ${METRICS_DATABASE}.landing
    -- Once an hour is enough for a series that is known: its labels are most of what a sample has.
    WHERE (metric, series_id) NOT IN
    (
        SELECT metric, series_id FROM ${METRICS_DATABASE}.series WHERE last_seen > now() - INTERVAL 1 HOUR
    )
    GROUP BY metric, series_id
);

CREATE OR REPLACE MATERIALIZED VIEW ${METRICS_DATABASE}.to_samples_1m TO ${METRICS_DATABASE}.samples_1m AS
SELECT
    metric, series_id, toStartOfMinute(timestamp, 'UTC') AS minute,
    count() AS samples, min(value) AS min, max(value) AS max, sum(value) AS sum,
    argMinState(value, toUnixTimestamp64Milli(timestamp)) AS first,
    argMaxState(value, toUnixTimestamp64Milli(timestamp)) AS last
FROM ${METRICS_DATABASE}.landing
-- A stale marker and other values that are no number belong to no average.
WHERE isFinite(value)
GROUP BY metric, series_id, minute;

-- The minutes as numbers. `samples` and `avg` are those of what landed: see samples_1m.
CREATE OR REPLACE VIEW ${METRICS_DATABASE}.minutes AS
SELECT
    metric, series_id, minute,
    sum(samples) AS samples, min(m.min) AS min, max(m.max) AS max, sum(m.sum) / samples AS avg,
    argMinMerge(m.first) AS first, argMaxMerge(m.last) AS last
FROM ${METRICS_DATABASE}.samples_1m AS m
GROUP BY metric, series_id, minute;

-- Samples of a time, and by what each counter grew since its sample before: summed over any time, and across resets, it is what the
-- counter counted. `growth(from = '2026-11-22 00:00:00', to = now())` is from the first to before the second; a sample before it
-- counts where it is no more than five minutes old, which is for how long Prometheus lets a sample stand. Not kept by the minute,
-- because states of `deltaSumTimestamp` that are merged out of order, which is how objects come, say something else each time.
CREATE OR REPLACE VIEW ${METRICS_DATABASE}.growth AS
SELECT metric, series_id, timestamp, value, multiIf(is_first, 0, value >= before, value - before, value) AS increase
FROM
(
    SELECT
        metric, series_id, timestamp, value,
        lagInFrame(value) OVER series AS before,
        row_number() OVER series = 1 AS is_first
    FROM ${METRICS_DATABASE}.samples FINAL
    WHERE isFinite(value)
        AND timestamp >= {from:DateTime64(3)} - INTERVAL 5 MINUTE AND timestamp < {to:DateTime64(3)}
    WINDOW series AS (PARTITION BY metric, series_id ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE timestamp >= {from:DateTime64(3)};

-- `growth` of some metrics, in the buckets of a chart. `elapsed` is for how many seconds the growth was seen, so that their quotient is
-- a rate whatever the bucket. Where buckets are two minutes or longer it is made of whole minutes: kept longer, and fewer. Metrics, times and the length of a bucket in seconds:
--
--   SELECT ... FROM growth_between(metrics = ['node_cpu_seconds_total'], from = now() - INTERVAL 1 HOUR, to = now(), step = 30)
CREATE OR REPLACE VIEW ${METRICS_DATABASE}.growth_between AS
SELECT
    metric, series_id, timestamp, value, value AS min, value AS max, multiIf(is_first, 0, value >= before, value - before, value) AS increase,
    if(is_first, 0, (toUnixTimestamp64Milli(timestamp) - toUnixTimestamp64Milli(earlier)) / 1000) AS elapsed
FROM
(
    SELECT
        metric, series_id, timestamp, value,
        lagInFrame(value) OVER series AS before, lagInFrame(timestamp) OVER series AS earlier, row_number() OVER series = 1 AS is_first
    FROM ${METRICS_DATABASE}.samples FINAL
    WHERE metric IN {metrics:Array(String)} AND isFinite(value)
        -- The sample before the first. A range that ends before it begins reads nothing.
        AND timestamp >= {from:DateTime64(3)} - INTERVAL 5 MINUTE
        AND timestamp <= if({step:UInt32} < 120, {to:DateTime64(3)}, toDateTime64(0, 3, 'UTC'))
    WINDOW series AS (PARTITION BY metric, series_id ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE timestamp >= {from:DateTime64(3)}
UNION ALL
SELECT
    metric, series_id, toDateTime64(minute, 3, 'UTC') AS timestamp, avg AS value, min, max,
    -- From the minute before to the first sample, and from the first to the last: a counter that began again was at its highest before.
    if(is_first, 0, if(first >= before, first - before, first)
        + multiIf(min >= first, last - first, last < max, max - first + last, last)) AS increase,
    if(is_first, 0, toFloat64(minute - earlier)) AS elapsed
FROM
(
    SELECT
        metric, series_id, minute, avg, min, max, first, last,
        lagInFrame(last) OVER series AS before, lagInFrame(minute) OVER series AS earlier, row_number() OVER series = 1 AS is_first
    FROM ${METRICS_DATABASE}.minutes
    WHERE metric IN {metrics:Array(String)} AND minute >= {from:DateTime64(3)} - INTERVAL 5 MINUTE
        AND minute <= if({step:UInt32} >= 120, {to:DateTime64(3)}, toDateTime64(0, 3, 'UTC'))
    WINDOW series AS (PARTITION BY metric, series_id ORDER BY minute ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE minute >= {from:DateTime64(3)};

-- The same of values that are no counters.
CREATE OR REPLACE VIEW ${METRICS_DATABASE}.values_between AS
SELECT metric, series_id, timestamp, value, value AS min, value AS max
FROM ${METRICS_DATABASE}.samples FINAL
WHERE metric IN {metrics:Array(String)} AND isFinite(value) AND timestamp >= {from:DateTime64(3)}
    AND timestamp <= if({step:UInt32} < 120, {to:DateTime64(3)}, toDateTime64(0, 3, 'UTC'))
UNION ALL
SELECT metric, series_id, toDateTime64(minute, 3, 'UTC') AS timestamp, avg AS value, min, max
FROM ${METRICS_DATABASE}.minutes
WHERE metric IN {metrics:Array(String)} AND minute >= {from:DateTime64(3)}
    AND minute <= if({step:UInt32} >= 120, {to:DateTime64(3)}, toDateTime64(0, 3, 'UTC'));

-- Every hour in which anything arrived since the last look, computed again: late samples find their place.
CREATE OR REPLACE MATERIALIZED VIEW ${METRICS_DATABASE}.to_samples_1h REFRESH EVERY 1 HOUR OFFSET 10 MINUTE APPEND
TO ${METRICS_DATABASE}.samples_1h AS
WITH touched AS
(
    SELECT DISTINCT toStartOfHour(timestamp, 'UTC')
    FROM ${METRICS_DATABASE}.landing
    -- Before the first look, all that is there.
    WHERE arrived + INTERVAL 10 MINUTE >= (SELECT max(computed) FROM ${METRICS_DATABASE}.samples_1h)
)
SELECT
    metric, series_id, toStartOfHour(timestamp, 'UTC') AS hour,
    count() AS samples, min(value) AS min, max(value) AS max, avg(value) AS avg,
    argMin(value, timestamp) AS first, argMax(value, timestamp) AS last,
    sum(multiIf(is_first, 0, value >= before, value - before, value)) AS increase, now() AS computed
FROM
(
    SELECT
        metric, series_id, timestamp, value,
        lagInFrame(value) OVER series AS before,
        row_number() OVER series = 1 AS is_first
    FROM ${METRICS_DATABASE}.samples FINAL
    WHERE isFinite(value)
        AND (toStartOfHour(timestamp, 'UTC') IN touched OR toStartOfHour(timestamp + INTERVAL 5 MINUTE, 'UTC') IN touched)
    WINDOW series AS (PARTITION BY metric, series_id ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE hour IN touched
GROUP BY metric, series_id, hour;

-- The hours as numbers, what each counter grew by in them included. Of an hour that is not over: what there was at the last look.
CREATE OR REPLACE VIEW ${METRICS_DATABASE}.hours AS
SELECT metric, series_id, hour, samples, min, max, avg, first, last, increase
FROM ${METRICS_DATABASE}.samples_1h FINAL;

-- Samples with what their series is.
CREATE OR REPLACE VIEW ${METRICS_DATABASE}.metrics AS
SELECT s.timestamp AS timestamp, s.metric AS metric, i.type AS type, s.value AS value, i.labels AS labels
FROM ${METRICS_DATABASE}.samples AS s FINAL
GLOBAL INNER JOIN (SELECT metric, series_id, type, labels FROM ${METRICS_DATABASE}.series FINAL) AS i USING (metric, series_id);

-- Who owns a pod: its Job, StatefulSet, ReplicaSet and so on.
CREATE OR REPLACE VIEW ${METRICS_DATABASE}.pod_owners AS
SELECT cluster_id, namespace, pod, any(labels['owner_kind']) AS kind, any(labels['owner_name']) AS name
FROM ${METRICS_DATABASE}.series FINAL
WHERE metric = 'kube_pod_owner'
GROUP BY cluster_id, namespace, pod;

-- `metrics` in the shape of the rows that Vector's objects gave, by the rules of `encoding: vector_json`: `collector` is the job, `host` the
-- node and `ts` the second, where there are such. Vector set these tags whatever the exporter had said; a label of such a name becomes
-- `exported_..`, so that rows which differ in nothing else stay apart.
CREATE OR REPLACE VIEW ${METRICS_DATABASE}.vector_rows AS
SELECT
    name,
    mapSort(mapConcat(own, mapFromArrays(
        arrayMap(label -> if(mapContains(own, label), arrayFirst(free -> NOT mapContains(labels, free), [
            concat('exported_', label), concat('exported_exported_', label), concat('exported_exported_exported_', label)
        ]), label), mapKeys(labels)),
        mapValues(labels)
    ))) AS tags,
    timestamp, kind, type, value
FROM
(
    SELECT
        metric AS name, labels, timestamp, 'absolute' AS kind, value,
        mapFilter((tag, text) -> text != '', map(
            'collector', labels['job'], 'host', labels['node'], 'ts', toString(toUnixTimestamp(timestamp))
        )) AS own,
        if(type IN ('unknown', 'info', 'stateset'), 'gauge', CAST(type, 'String')) AS type
    FROM ${METRICS_DATABASE}.metrics
);

-- The columns of an object, which `agent schema` prints.
CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.object_columns
(
    `timestamp` DateTime64(3, 'UTC'),
    `metric` LowCardinality(String),
    `type` LowCardinality(String),
    `cluster_id` LowCardinality(String),
    `job` LowCardinality(String),
    `instance` LowCardinality(String),
    `namespace` LowCardinality(String),
    `pod` LowCardinality(String),
    `container` LowCardinality(String),
    `node` LowCardinality(String),
    `uid` String,
    `labels` Map(LowCardinality(String), String),
    `value` Float64
)
ENGINE = Null;

-- The queue, last: rows flow as soon as its view is there. An object without one of these columns is refused as a whole, and
-- stands in `system.s3queue_log` as failed: it must not become rows of empty texts.
CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.queue AS ${METRICS_DATABASE}.object_columns
ENGINE = S3Queue('${METRICS_URL}/*/*.parquet', '${METRICS_KEY}', '${METRICS_SECRET}', 'Parquet')
SETTINGS ${METRICS_QUEUE}, keeper_path = '${METRICS_KEEPER_PATH}', enable_logging_to_queue_log = 1,
    polling_min_timeout_ms = 1000, polling_max_timeout_ms = 5000, polling_backoff_ms = 1000,
    input_format_parquet_allow_missing_columns = 0;

CREATE OR REPLACE MATERIALIZED VIEW ${METRICS_DATABASE}.from_queue TO ${METRICS_DATABASE}.landing AS
SELECT
    timestamp, metric, type, cluster_id, job, instance, namespace, pod, container, node, uid, value, _path AS object,
    -- Promoted labels have no column here.
    mapConcat(labels, mapFilter((name, text) -> text != '', mapFromArrays(
        arrayMap(name -> trimBoth(name), arrayFilter(name -> name != '', splitByChar(',', '${METRICS_PROMOTED}'))),
        CAST([${METRICS_PROMOTED}], 'Array(String)')
    ))) AS labels
FROM ${METRICS_DATABASE}.queue;
