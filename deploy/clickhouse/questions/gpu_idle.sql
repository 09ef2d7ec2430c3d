-- GPUs that a pod holds and hardly uses: below 5 % at every sample. Idle hours, longest first.
SELECT
    node, labels['gpu'] AS gpu, namespace, pod, max(value) AS busiest,
    (toUnixTimestamp64Milli(max(timestamp)) - toUnixTimestamp64Milli(min(timestamp))) / 3.6e6 AS idle_hours
FROM (SELECT * FROM ${METRICS_DATABASE}.samples FINAL
      WHERE metric = 'DCGM_FI_DEV_GPU_UTIL' AND timestamp >= {from:DateTime64(3)} AND timestamp < {to:DateTime64(3)}) AS v
GLOBAL INNER JOIN (SELECT * FROM ${METRICS_DATABASE}.series FINAL WHERE metric = 'DCGM_FI_DEV_GPU_UTIL' AND pod != '') AS s USING (metric, series_id)
GROUP BY node, gpu, namespace, pod, series_id
HAVING busiest < 5
ORDER BY idle_hours DESC, node, gpu
