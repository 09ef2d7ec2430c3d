-- What ended pods and containers: how often in each workload, for which reason, and with which exit codes. An event that repeated is
-- as many as its count grew by. Needs events.sql.
SELECT
    namespace, owner_kind, owner, reason, sum(times) AS terminations, uniqExact(name) AS pods,
    arraySort(arrayDistinct(arrayFlatten(groupArray(codes)))) AS exit_codes, max(last_seen) AS last
FROM
(
    SELECT
        namespace, owner_kind, owner, reason, name, uid,
        -- Each run of a container is a row; an event's count goes on from row to row.
        if(any(source) = 'pod', count(), toUInt64(max(v.count) - min(v.count) + 1)) AS times,
        groupUniqArrayIf(exit_code, source = 'pod') AS codes, max(timestamp) AS last_seen
    FROM ${METRICS_DATABASE}.terminations AS v
    WHERE timestamp >= {from:DateTime64(3)} AND timestamp < {to:DateTime64(3)}
    GROUP BY cluster_id, namespace, owner_kind, owner, reason, name, uid
)
GROUP BY namespace, owner_kind, owner, reason
ORDER BY terminations DESC, namespace, owner, reason
