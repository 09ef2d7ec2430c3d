-- Targets: what share of their scrapes was answered, when last, how many samples and how long an answer took. The worst first.
SELECT
    job, instance,
    avgIf(value, metric = 'up') AS answered,
    maxIf(timestamp, metric = 'up' AND value = 1) AS last_answer,
    maxIf(value, metric = 'scrape_samples_scraped') AS samples,
    avgIf(value, metric = 'scrape_duration_seconds') AS seconds
FROM (SELECT * FROM ${METRICS_DATABASE}.samples FINAL
      WHERE metric IN ('up', 'scrape_samples_scraped', 'scrape_duration_seconds')
          AND timestamp >= {from:DateTime64(3)} AND timestamp < {to:DateTime64(3)}) AS v
GLOBAL INNER JOIN (SELECT * FROM ${METRICS_DATABASE}.series FINAL) AS s USING (metric, series_id)
GROUP BY job, instance
ORDER BY answered, job, instance
