-- Makes room for a label that gets a column of its own in the objects (`parquet.promote`). The table comes before the column: one
-- that the table lacks is ignored without a word, and an object that lacks one which the table has is refused. So:
--
--   1. Stop the agent; it uploads what it has. Wait until check.sql has nothing to say.
--   2. METRICS_DATABASE=metrics METRICS_LABEL=image envsubst < deploy/clickhouse/promote.sql | clickhouse-client --multiquery
--   3. tables.sql again, with the label added to METRICS_PROMOTED, and with what step 2 has printed in METRICS_QUEUE:
--      METRICS_PROMOTED='id, image'
--      METRICS_QUEUE="mode = 'ordered', buckets = 1, last_processed_path = 'ORG/.../0123456789.parquet'"
--   4. Add the label to `parquet.promote`, and start the agent.
--
-- A series is the same before and after: it is known by all its labels, wherever they stand.

-- Where the new queue begins; without it every object of the bucket would be read again.
SELECT max(object) AS last_processed_path FROM ${METRICS_DATABASE}.landing;

DROP VIEW IF EXISTS ${METRICS_DATABASE}.from_queue SYNC;
DROP TABLE IF EXISTS ${METRICS_DATABASE}.queue SYNC;
ALTER TABLE ${METRICS_DATABASE}.object_columns ADD COLUMN IF NOT EXISTS ${METRICS_LABEL} LowCardinality(String) AFTER uid;
