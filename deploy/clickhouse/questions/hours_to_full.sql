-- Filesystems that fill: bytes that are left, and hours until none are, if it goes on as it went. Those that empty have none.
SELECT
    node, labels['mountpoint'] AS mountpoint, argMax(value, timestamp) AS available,
    -- From the beginning on: since 1970 it would be lost in rounding.
    simpleLinearRegression((toUnixTimestamp64Milli(timestamp) - toUnixTimestamp64Milli({from:DateTime64(3)})) / 3.6e6, value).1 AS bytes_an_hour,
    if(bytes_an_hour < 0, -available / bytes_an_hour, NULL) AS hours
FROM (SELECT * FROM ${METRICS_DATABASE}.samples FINAL
      WHERE metric = 'node_filesystem_avail_bytes' AND timestamp >= {from:DateTime64(3)} AND timestamp < {to:DateTime64(3)}) AS v
GLOBAL INNER JOIN (SELECT * FROM ${METRICS_DATABASE}.series FINAL WHERE metric = 'node_filesystem_avail_bytes') AS s USING (metric, series_id)
GROUP BY node, mountpoint, series_id
HAVING hours IS NOT NULL
ORDER BY hours, node, mountpoint
