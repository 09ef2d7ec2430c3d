-- GPUs of each node: how busy, how full, how hot, what they draw, and the energy they took. Percent, MiB, Celsius, watts, kWh.
SELECT
    node, count() AS gpus, avg(busy) AS utilisation, sum(used) AS memory_used, sum(used + free) AS memory_total,
    max(hottest) AS temperature, sum(drawn) AS power, sum(taken) AS energy
FROM
(
    SELECT
        node, labels['UUID'] AS gpu,
        avgIf(value, metric = 'DCGM_FI_DEV_GPU_UTIL') AS busy,
        avgIf(value, metric = 'DCGM_FI_DEV_FB_USED') AS used,
        avgIf(value, metric = 'DCGM_FI_DEV_FB_FREE') AS free,
        maxIf(value, metric = 'DCGM_FI_DEV_GPU_TEMP') AS hottest,
        avgIf(value, metric = 'DCGM_FI_DEV_POWER_USAGE') AS drawn,
        -- A counter of millijoules.
        sumIf(increase, metric = 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION') / 3.6e9 AS taken
    FROM ${METRICS_DATABASE}.growth(from = {from:DateTime64(3)}, to = {to:DateTime64(3)})
    GLOBAL INNER JOIN (SELECT * FROM ${METRICS_DATABASE}.series FINAL) AS s USING (metric, series_id)
    WHERE metric IN ('DCGM_FI_DEV_GPU_UTIL', 'DCGM_FI_DEV_FB_USED', 'DCGM_FI_DEV_FB_FREE', 'DCGM_FI_DEV_GPU_TEMP',
                     'DCGM_FI_DEV_POWER_USAGE', 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION')
    GROUP BY node, gpu
)
GROUP BY node
ORDER BY node
