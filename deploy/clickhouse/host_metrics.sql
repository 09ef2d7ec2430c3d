-- Vector's own host metrics (`host_*`) out of node-exporter's, for dashboards that ask for the old names. Run it after `tables.sql`,
-- and again when the table of names has changed: what is there is replaced.
--
--   METRICS_DATABASE=metrics METRICS_HOST_NAMES="`cat deploy/clickhouse/host_metrics.tsv`" \
--     envsubst < deploy/clickhouse/host_metrics.sql | clickhouse-client --multiquery
--
-- A metric is the sum of its rows with the part `value`, each times its factor, divided by the sum of those with the part `divisor`
-- if it has such. Where `node` is empty there is no counterpart, and `note` says why. `agent compare` reads the same names.

CREATE TABLE IF NOT EXISTS ${METRICS_DATABASE}.host_metric_names
(
    `vector` String,
    `type` String,
    `collector` String,
    `part` String,
    `node` String,
    `factor` Float64,
    -- Vector's tags that are labels of node-exporter, `tag=label` where they are not called the same.
    `labels` String,
    -- Vector's values of them, where they are not the same: `value=value`.
    `values` String,
    `note` String
)
ENGINE = MergeTree
ORDER BY (vector, part, node);

TRUNCATE TABLE ${METRICS_DATABASE}.host_metric_names;

INSERT INTO ${METRICS_DATABASE}.host_metric_names
SELECT vector, type, collector, part, node, toFloat64OrZero(factor), labels, values, note
FROM format(
    TSVWithNames,
    'vector String, type String, collector String, part String, node String, factor String, labels String, values String, note String',
    '${METRICS_HOST_NAMES}'
);

-- Rows as `vector_rows` has them. Ask for a range of time: the names alone find no sample fast. The terms of a sum are of one scrape,
-- and where one of them is missing so is the sum.
CREATE OR REPLACE VIEW ${METRICS_DATABASE}.host_metrics_as_vector AS
SELECT
    name,
    mapSort(mapConcat(
        map('collector', collector, 'host', if(series['node'] != '', series['node'], series['instance'])),
        mapFilter((tag, text) -> text != '', mapFromArrays(
            tags_of,
            arrayMap(
                label -> if(indexOf(values_ours, series[label]) = 0, series[label],
                    values_theirs[indexOf(values_ours, series[label])]),
                labels_of
            )
        ))
    )) AS tags,
    timestamp,
    'absolute' AS kind,
    type,
    sumIf(term, part = 'value') / if(countIf(part = 'divisor') = 0, 1, sumIf(term, part = 'divisor')) AS value
FROM
(
    SELECT
        m.timestamp AS timestamp, m.labels AS series, m.value * n.factor AS term, n.vector AS name, n.type AS type,
        n.collector AS collector, n.part AS part, n.terms AS terms, n.tags_of AS tags_of, n.labels_of AS labels_of,
        n.values_theirs AS values_theirs, n.values_ours AS values_ours
    FROM ${METRICS_DATABASE}.metrics AS m
    INNER JOIN
    (
        SELECT
            vector, type, collector, part, node, factor, count() OVER (PARTITION BY vector) AS terms,
            arrayFilter(pair -> pair != '', splitByChar(',', labels)) AS label_pairs,
            arrayFilter(pair -> pair != '', splitByChar(',', values)) AS value_pairs,
            arrayMap(pair -> splitByChar('=', pair)[1], label_pairs) AS tags_of,
            arrayMap(pair -> splitByChar('=', pair)[-1], label_pairs) AS labels_of,
            arrayMap(pair -> splitByChar('=', pair)[1], value_pairs) AS values_theirs,
            arrayMap(pair -> splitByChar('=', pair)[-1], value_pairs) AS values_ours
        FROM ${METRICS_DATABASE}.host_metric_names
        WHERE node != ''
    ) AS n ON m.metric = n.node
)
GROUP BY name, type, collector, series, timestamp, terms, tags_of, labels_of, values_theirs, values_ours
HAVING count() = terms;
