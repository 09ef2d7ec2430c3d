//! `agent --dry-run`: one scrape of every target through the real pipeline, shown instead of shipped.
//!
//! Gives samples on stdout and, on stderr for people, the targets and the object that would have been uploaded. Writes
//! and sends nothing, and needs no credentials.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use pipeline::model::object::{self, Writer};
use pipeline::model::target::Health;
use pipeline::scrape::{ActiveTarget, DropReason, JobTargets};
use pipeline::{DryRun, Pipeline, Preview};
use prometheus::Registry;

use crate::cli::Format;
use crate::config::Config;
use crate::own_metrics;
use crate::samples::{self, Sample};
use crate::targets::health;

/// Stands for the writer's id, which is made with the spool.
const WRITER: &str = "dryrun";

/// Scrapes everything once, or so many targets of each job; what was counted is in `registry`.
///
/// # Errors
/// When the pipeline cannot run; a target that does not answer is no error.
pub async fn scrape(
    config: &Config,
    registry: &Registry,
    targets_per_job: usize,
) -> Result<DryRun, crate::Error> {
    let writer = Writer { id: writer(config).to_owned(), next_sequence: 0, taken: 0 };
    let own = config.internal_metrics.then(|| own_metrics(registry));
    let pipeline = Pipeline::new(&config.pipeline, own, &writer, &config.cluster_id, registry)?;
    Ok(pipeline.dry_run(targets_per_job).await?)
}

/// How far a dry run is that counts in `registry`.
pub(crate) fn progress(registry: &Registry) -> String {
    let families = registry.gather();
    let sum = |name: &str, value: fn(&prometheus::proto::Metric) -> f64, label: &str| -> f64 {
        let named =
            families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        let with = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|one| one.value() == label)
        };
        named.filter(with).map(value).sum()
    };
    match sum("agent_targets", |metric| metric.get_gauge().get_value(), "active") {
        0.0 => "looking for targets".to_owned(),
        targets => {
            let asked = sum("agent_scrapes_total", |metric| metric.get_counter().get_value(), "");
            format!("{asked} of {targets} targets have been asked")
        }
    }
}

fn writer(config: &Config) -> &str {
    config.sinks.sink.s3.as_ref().and_then(|s3| s3.writer.as_deref()).unwrap_or(WRITER)
}

/// Writes all samples. A reader that has seen enough, such as `head`, is no error.
///
/// # Errors
/// When the stream takes no more for another reason.
pub fn print_samples(out: impl Write, run: &DryRun, format: Format) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let samples = in_order(run);
    let written = match format {
        Format::Json => samples::write_json(&mut out, samples.into_iter()),
        Format::Prometheus => samples::write_prometheus(&mut out, samples.into_iter()),
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is in the buffer cannot be written either, and need not be.
            let _ = out.into_parts();
            Ok(())
        }
        written => written,
    }
}

/// The samples job by job, those that answered first, so that the first lines show what the exporters say and not who
/// was first to refuse.
fn in_order(run: &DryRun) -> Vec<Sample<'_>> {
    let is_up = |active: &ActiveTarget| active.target.last().is_some_and(|last| last.health == Health::Up);
    let place = |(i, job): (usize, &Arc<JobTargets>)| (job.job.clone(), (!job.active.iter().any(is_up), i));
    let places: HashMap<String, (bool, usize)> = run.jobs.iter().enumerate().map(place).collect();
    let mut samples: Vec<Sample<'_>> = run.samples().collect();
    samples
        .sort_by_key(|(series, _, _)| places.get(series.value("job")).copied().unwrap_or((true, usize::MAX)));
    samples
}

/// Writes the report for people. Returns whether all targets answered.
///
/// # Errors
/// When the stream takes no more.
pub fn print_report(
    err: &mut impl Write,
    run: &DryRun,
    config: &Config,
    registry: &Registry,
    now: i64,
) -> io::Result<bool> {
    let rows = rows(&run.jobs);
    writeln!(err)?;
    print_table(err, &rows)?;
    let count = |state: &str| rows.iter().filter(|row| row.state == state).count();
    let dropped: usize = run.jobs.iter().map(|job| job.dropped.len()).sum();
    let invalid = count(INVALID);
    let down = count("down") + count(NOT_SCRAPED) + count(UNDISCOVERED) + invalid;
    write!(
        err,
        "\ntargets: {} up, {down} down, {} not running here",
        count("up"),
        count("not running here")
    )?;
    match dropped - invalid {
        0 => writeln!(err)?,
        dropped => writeln!(err, ", {dropped} dropped before scraping (see `agent targets`)")?,
    }
    for (reason, samples) in drops(registry) {
        writeln!(err, "dropped: {samples} samples, {reason}")?;
    }
    print_object(err, run.preview.as_ref(), config, now)?;
    if down > 0 {
        writeln!(err, "\nsome targets did not answer: exit code 1")?;
    }
    Ok(down == 0)
}

/// Samples that were dropped, by the reason under which they are counted.
fn drops(registry: &Registry) -> Vec<(String, u64)> {
    let families = registry.gather();
    let counted = families.iter().filter(|family| family.name() == "agent_samples_dropped_total");
    let drop = |metric: &prometheus::proto::Metric| {
        let reason = metric.get_label().first().map(|label| label.value().to_owned()).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an integer counter")]
        let samples = metric.get_counter().get_value() as u64;
        (reason, samples)
    };
    counted.flat_map(|family| family.get_metric()).map(drop).filter(|(_, samples)| *samples > 0).collect()
}

const NOT_SCRAPED: &str = "not scraped";
const INVALID: &str = "invalid";
const UNDISCOVERED: &str = "undiscovered";

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    job: String,
    instance: String,
    state: &'static str,
    samples: String,
    seconds: String,
    notes: Vec<String>,
}

fn rows(jobs: &[Arc<JobTargets>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for job in jobs {
        for active in &job.active {
            let (target, last) = (&active.target, active.target.last());
            let (state, error) = last.as_ref().map_or((NOT_SCRAPED, None), |last| health(&last.health));
            let mut notes: Vec<String> = error.map(str::to_owned).into_iter().collect();
            if let Some(last) = &last {
                if last.samples_kept != last.samples_scraped {
                    notes.push(format!("{} before metric_relabel_configs", last.samples_scraped));
                }
                if last.lines_bad > 0 {
                    let first = last.first_bad_line.as_deref().unwrap_or_default();
                    notes.push(format!("{} bad lines, the first: {first}", last.lines_bad));
                }
            }
            let answered = last.as_ref().filter(|last| last.health == Health::Up);
            rows.push(Row {
                job: job.job.clone(),
                instance: target.instance().to_owned(),
                state,
                samples: answered.map_or_else(String::new, |last| last.samples_kept.to_string()),
                seconds: answered
                    .map_or_else(String::new, |last| format!("{:.3}", last.duration.as_secs_f64())),
                notes,
            });
        }
        rows.extend(job.problems.iter().map(|problem| Row {
            job: job.job.clone(),
            instance: String::new(),
            state: UNDISCOVERED,
            samples: String::new(),
            seconds: String::new(),
            notes: vec![problem.clone()],
        }));
        let invalid = job.dropped.iter().filter(|dropped| matches!(dropped.reason, DropReason::Invalid(_)));
        rows.extend(invalid.map(|dropped| Row {
            job: job.job.clone(),
            instance: dropped.discovered.labels().value("__address__").to_owned(),
            state: INVALID,
            samples: String::new(),
            seconds: String::new(),
            notes: vec![dropped.reason.to_string()],
        }));
    }
    rows
}

fn print_table(err: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let width = |title: &str, cell: fn(&Row) -> &str| {
        let widest = rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or_default();
        widest.max(title.len())
    };
    let job = width("JOB", |row| &row.job);
    let instance = width("INSTANCE", |row| &row.instance);
    let state = width("STATE", |row| row.state);
    let line = |cells: [&str; 6]| {
        let [a, b, c, d, e, f] = cells;
        format!("{a:job$}  {b:instance$}  {c:state$}  {d:>8}  {e:>8}  {f}").trim_end().to_owned()
    };
    writeln!(err, "{}", line(["JOB", "INSTANCE", "STATE", "SAMPLES", "SECONDS", "NOTES"]))?;
    for row in rows {
        let notes = row.notes.join("; ");
        let cells = [&row.job, &row.instance, row.state, &row.samples, &row.seconds, notes.as_str()];
        writeln!(err, "{}", line(cells))?;
    }
    Ok(())
}

fn print_object(
    err: &mut impl Write,
    preview: Option<&Preview>,
    config: &Config,
    now: i64,
) -> io::Result<()> {
    let Some(Preview { objects, format, samples, bytes }) = preview else {
        return writeln!(err, "no object: there are no samples");
    };
    let place = match (&config.sinks.sink.s3, &config.sinks.sink.file) {
        (Some(s3), _) => {
            let bucket = s3.bucket.as_deref().unwrap_or("{bucket of the credentials}");
            let granted = config.sinks.credentials.cedana.is_some().then_some("{prefix of the credentials}");
            match s3.prefix(granted) {
                prefix if prefix.is_empty() => format!("s3://{bucket}/"),
                prefix => format!("s3://{bucket}/{prefix}/"),
            }
        }
        (None, Some(file)) => format!("{}/", file.dir.display()),
        (None, None) => String::new(),
    };
    // A real sequence begins at the second in which the spool is made.
    let sequence = u64::try_from(now / 1000).unwrap_or_default();
    let key = sinks::key::Key::next(None, now / 1000, writer(config), sequence, *format);
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let bytes_per_sample = *bytes as f64 / (*samples).max(1) as f64;
    match objects {
        1 => writeln!(err, "\nthe object that would have been uploaded (nothing was written or sent)")?,
        _ => writeln!(
            err,
            "\nthe {objects} objects that would have been uploaded (nothing was written or sent)"
        )?,
    }
    writeln!(err, "  key               {place}{key}{}", if *objects > 1 { " and after it" } else { "" })?;
    if *format != object::Format::Parquet {
        writeln!(err, "  encoding          vector_json: {}", format.content_type())?;
    }
    writeln!(err, "  rows              {samples} (up and the like included: six per target)")?;
    writeln!(err, "  bytes             {bytes}")?;
    writeln!(err, "  bytes per sample  {bytes_per_sample:.1}")
}
