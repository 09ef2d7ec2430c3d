-- The tables of Kubernetes events, beside those of tables.sql and with its parameters. Run it again at any time: what is there
-- stays. Its queue needs a place of its own in ZooKeeper, which is made of that of the other queue.
--
--   METRICS_DATABASE=metrics METRICS_URL=https://BUCKET.s3.REGION.amazonaws.com/PREFIX \
--   METRICS_KEY=... METRICS_SECRET=... METRICS_KEEPER_PATH=/clickhouse/s3queue/metrics \
--   METRICS_QUEUE="mode = 'ordered', buckets = 1" METRICS_DAYS=30 \
--   envsubst < deploy/clickhouse/events.sql | clickhouse-client --multiquery
--
-- Objects are PREFIX/0-events/{unix}/{writer}-{sequence}.parquet: below every key of metrics, and deeper than their queue looks.

CREATE DATABASE IF NOT EXISTS ${METRICS_DATABASE};

-- What arrived lately, as it arrived, with the object that it came from.
CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.events_landing
(
    `timestamp` DateTime64(3, 'UTC'),
    `cluster_id` LowCardinality(String),
    `source` LowCardinality(String),
    `type` LowCardinality(String),
    `reason` LowCardinality(String),
    `kind` LowCardinality(String),
    `namespace` LowCardinality(String),
    `name` String,
    `object_uid` String,
    `container` LowCardinality(String),
    `node` LowCardinality(String),
    `component` LowCardinality(String),
    `owner_kind` LowCardinality(String),
    `owner` LowCardinality(String),
    `uid` String,
    `count` UInt64,
    `exit_code` Int32,
    `message` String,
    `object` LowCardinality(String),
    `arrived` DateTime('UTC') DEFAULT now()
)
ENGINE = MergeTree
PARTITION BY toDate(arrived)
ORDER BY (object, timestamp)
TTL arrived + INTERVAL 3 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- Every event with every count that was seen of it, and every end of a container, once. What two agents shipped, one after the
-- other, is merged away; ask with FINAL.
CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.events
(
    `timestamp` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `cluster_id` LowCardinality(String),
    -- `event`, or `pod` for what a pod's status says of a container.
    `source` LowCardinality(String),
    `type` LowCardinality(String),
    `reason` LowCardinality(String),
    `kind` LowCardinality(String),
    `namespace` LowCardinality(String),
    `name` String,
    `object_uid` String,
    `container` LowCardinality(String),
    `node` LowCardinality(String),
    `component` LowCardinality(String),
    -- A pod's workload: Job, Deployment, StatefulSet or whatever controls it. Of anything else it is the thing itself.
    `owner_kind` LowCardinality(String),
    `owner` LowCardinality(String),
    -- Of the event, or the pod's with the container's name.
    `uid` String,
    -- How often it was seen until then, or which run of the container ended.
    `count` UInt64,
    `exit_code` Int32,
    `message` String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(timestamp)
ORDER BY (cluster_id, uid, count)
TTL toDateTime(timestamp) + INTERVAL ${METRICS_DAYS} DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${METRICS_DATABASE}.to_events TO ${METRICS_DATABASE}.events AS
SELECT * EXCEPT (object, arrived)
FROM ${METRICS_DATABASE}.events_landing;

-- What ended pods before their time, and how containers ended. `Preempted` is the scheduler's word, `Preempting` the kubelet's;
-- a kubelet tells of `OOMKilled` in the pod's status, node-problem-detector of `OOMKilling` about the node.
CREATE VIEW IF NOT EXISTS ${METRICS_DATABASE}.terminations AS
SELECT *
FROM ${METRICS_DATABASE}.events FINAL
WHERE source = 'pod' AND reason != 'Completed'
   OR source = 'event' AND reason IN ('Killing', 'Preempting', 'Preempted', 'Evicted', 'OOMKilling', 'BackoffLimitExceeded',
                                      'DeadlineExceeded', 'TaintManagerEviction', 'NodeShutdown');

CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.events_queue
(
    `timestamp` DateTime64(3, 'UTC'),
    `cluster_id` LowCardinality(String),
    `source` LowCardinality(String),
    `type` LowCardinality(String),
    `reason` LowCardinality(String),
    `kind` LowCardinality(String),
    `namespace` LowCardinality(String),
    `name` String,
    `object_uid` String,
    `container` LowCardinality(String),
    `node` LowCardinality(String),
    `component` LowCardinality(String),
    `owner_kind` LowCardinality(String),
    `owner` LowCardinality(String),
    `uid` String,
    `count` UInt64,
    `exit_code` Int32,
    `message` String
)
ENGINE = S3Queue('${METRICS_URL}/0-events/*/*.parquet', '${METRICS_KEY}', '${METRICS_SECRET}', 'Parquet')
SETTINGS ${METRICS_QUEUE}, keeper_path = '${METRICS_KEEPER_PATH}-events', enable_logging_to_queue_log = 1,
    polling_min_timeout_ms = 1000, polling_max_timeout_ms = 5000, polling_backoff_ms = 1000,
    input_format_parquet_allow_missing_columns = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${METRICS_DATABASE}.from_events_queue TO ${METRICS_DATABASE}.events_landing AS
SELECT *, _path AS object
FROM ${METRICS_DATABASE}.events_queue;
