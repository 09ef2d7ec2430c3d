-- One distributed training job across its pods and GPUs: where each pod ran, when, and how busy its GPUs were. A straggler is the pod
-- whose GPUs are less busy than the others'.
SELECT
    s.pod AS pod, any(s.node) AS node, uniqExact(labels['UUID']) AS gpus, min(timestamp) AS began, max(timestamp) AS ended,
    avg(value) AS utilisation
FROM (SELECT * FROM ${METRICS_DATABASE}.samples FINAL
      WHERE metric = 'DCGM_FI_DEV_GPU_UTIL' AND timestamp >= {from:DateTime64(3)} AND timestamp < {to:DateTime64(3)}) AS v
GLOBAL INNER JOIN (SELECT * FROM ${METRICS_DATABASE}.series FINAL WHERE metric = 'DCGM_FI_DEV_GPU_UTIL') AS s USING (metric, series_id)
WHERE (s.cluster_id, s.namespace, s.pod) GLOBAL IN
(
    SELECT cluster_id, namespace, pod FROM ${METRICS_DATABASE}.pod_owners WHERE kind = 'Job' AND name = {job:String}
)
GROUP BY pod
ORDER BY pod
