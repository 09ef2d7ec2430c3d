-- GPUs of each workload: how many pods and GPUs, GPU hours held and used, and what share of what was held was used. A pod's owner is
-- its Job, StatefulSet and so on; of a ReplicaSet's pods the ReplicaSet; a pod without one owns itself.
SELECT
    namespace, owner_kind, owner, uniqExact(pod) AS pods, uniqExact(gpu) AS gpus, sum(hours) AS hours_held,
    sum(hours * busy / 100) AS hours_used, hours_used / hours_held AS efficiency
FROM
(
    SELECT
        s.namespace AS namespace, s.pod AS pod, labels['UUID'] AS gpu, avg(value) AS busy,
        -- From the first sample to the last, and as long again as one sample stands for.
        (toUnixTimestamp64Milli(max(timestamp)) - toUnixTimestamp64Milli(min(timestamp))) / 3.6e6 * count() / greatest(count() - 1, 1) AS hours,
        if(any(o.name) = '', 'Pod', any(o.kind)) AS owner_kind, if(any(o.name) = '', pod, any(o.name)) AS owner
    FROM (SELECT * FROM ${METRICS_DATABASE}.samples FINAL
          WHERE metric = 'DCGM_FI_DEV_GPU_UTIL' AND timestamp >= {from:DateTime64(3)} AND timestamp < {to:DateTime64(3)}) AS v
    GLOBAL INNER JOIN (SELECT * FROM ${METRICS_DATABASE}.series FINAL WHERE metric = 'DCGM_FI_DEV_GPU_UTIL' AND pod != '') AS s USING (metric, series_id)
    GLOBAL LEFT JOIN ${METRICS_DATABASE}.pod_owners AS o ON o.cluster_id = s.cluster_id AND o.namespace = s.namespace AND o.pod = s.pod
    GROUP BY s.cluster_id, s.namespace, s.pod, gpu
)
GROUP BY namespace, owner_kind, owner
ORDER BY hours_held DESC, namespace, owner
