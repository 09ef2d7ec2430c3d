-- Bytes a second that each node received, across restarts of its counters: the way to ask any counter.
SELECT
    node,
    sum(increase) / (toUnixTimestamp64Milli({to:DateTime64(3)}) - toUnixTimestamp64Milli({from:DateTime64(3)})) * 1000 AS rate
FROM ${METRICS_DATABASE}.growth(from = {from:DateTime64(3)}, to = {to:DateTime64(3)})
GLOBAL INNER JOIN (SELECT * FROM ${METRICS_DATABASE}.series FINAL WHERE metric = 'node_network_receive_bytes_total') AS s USING (metric, series_id)
WHERE metric = 'node_network_receive_bytes_total' AND labels['device'] NOT IN ('lo')
GROUP BY node
ORDER BY rate DESC, node
