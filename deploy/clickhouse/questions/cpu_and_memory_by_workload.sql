-- Cores and memory of each workload's containers: cores are an average, across restarts; memory is the working set, bytes.
SELECT
    c.namespace AS namespace,
    if(o.name = '', 'Pod', o.kind) AS owner_kind, if(o.name = '', c.pod, o.name) AS owner,
    uniqExact(c.pod) AS pods, sum(c.cores) AS cores, sum(c.memory) AS memory
FROM
(
    SELECT
        cluster_id, namespace, pod, container,
        sumIf(increase, metric = 'container_cpu_usage_seconds_total')
            / (toUnixTimestamp64Milli({to:DateTime64(3)}) - toUnixTimestamp64Milli({from:DateTime64(3)})) * 1000 AS cores,
        avgIf(value, metric = 'container_memory_working_set_bytes') AS memory
    FROM ${METRICS_DATABASE}.growth(from = {from:DateTime64(3)}, to = {to:DateTime64(3)})
    -- A pod as a whole is there too, without a container's name.
    GLOBAL INNER JOIN (SELECT * FROM ${METRICS_DATABASE}.series FINAL WHERE pod != '' AND container NOT IN ('', 'POD')) AS s USING (metric, series_id)
    WHERE metric IN ('container_cpu_usage_seconds_total', 'container_memory_working_set_bytes')
    GROUP BY cluster_id, namespace, pod, container
) AS c
GLOBAL LEFT JOIN ${METRICS_DATABASE}.pod_owners AS o ON o.cluster_id = c.cluster_id AND o.namespace = c.namespace AND o.pod = c.pod
GROUP BY namespace, owner_kind, owner
ORDER BY cores DESC, namespace, owner
