//! `agent tail`: samples as they come, through the real pipeline, shown instead of shipped.
//!
//! Takes the targets of the configuration, scraped at their own intervals; gives the samples of the series that are asked for.
//! Writes nothing to disk and sends nothing.

use std::io::{self, Write};

use pipeline::Pipeline;
use pipeline::decode;
use pipeline::encode::Encoding;
use pipeline::model::object::{Object, Writer};
use pipeline::model::units::Duration;
use pipeline::selector::Selector;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cli::Shape;
use crate::config::Config;
use crate::inspect::print;
use crate::{own_metrics, signals, telemetry};

/// How long a sample waits to be shown at most: as long as a batch is open.
const AGE: Duration = Duration(std::time::Duration::from_secs(1));
/// Objects between the pipeline and the one who reads: while nobody reads, nothing is scraped.
const OBJECTS_MAX: usize = 1;

/// What is to be shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Only these series, in Prometheus' syntax, such as '{job="dcgm",__name__=~"DCGM_FI_DEV_.*"}'
    #[arg(value_name = "SELECTOR")]
    pub select: Option<Selector>,

    /// End after so many samples; 0 for never
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub limit: u64,

    /// How it is printed; JSON is one object per line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Shape,
}

/// Why nothing more can be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be scraped.
    #[error(transparent)]
    Run(#[from] crate::Error),
    /// An object of our own cannot be read back, which is a defect.
    #[error("cannot read back what was scraped")]
    Read(#[from] decode::Error),
    /// The stream takes no more.
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// Shows samples until a signal, the limit, or nobody reads any more.
///
/// # Errors
/// When nothing can be scraped or printed.
pub async fn run(arguments: &Arguments, config: &Config, out: &mut (impl Write + Send)) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let signals = signals::listen().map_err(crate::Error::Signals)?;
    tokio::select! {
        ended = until(arguments, config, out, &stop) => ended,
        () = signals.handle(&stop) => Ok(()),
    }
}

async fn until(
    arguments: &Arguments,
    config: &Config,
    out: &mut (impl Write + Send),
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut section = config.pipeline.clone();
    // What can be read back, soon.
    (section.encoding, section.batch.max_age) = (Encoding::Parquet, AGE);
    let registry = telemetry::registry().map_err(crate::Error::from)?;
    let own = config.internal_metrics.then(|| own_metrics(&registry));
    let writer = Writer { id: "tail".to_owned(), next_sequence: 0, taken: 0 };
    let pipeline =
        Pipeline::new(&section, own, &writer, &config.cluster_id, &registry).map_err(crate::Error::from)?;
    let (objects, mut sealed) = mpsc::channel::<Object>(OBJECTS_MAX);
    let (taken, is_taken) = watch::channel(0);
    let show = async {
        let mut left = if arguments.limit == 0 { u64::MAX } else { arguments.limit };
        while let Some(object) = sealed.recv().await {
            taken.send_replace(object.sequence + 1);
            let shown = show(arguments, &object, &mut left, out);
            let is_read =
                !matches!(&shown, Err(Error::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe);
            if left == 0 || !is_read || shown.is_err() {
                stop.cancel();
                return if is_read { shown } else { Ok(()) };
            }
        }
        Ok(())
    };
    let scrape = async {
        Ok::<_, Error>(pipeline.run(objects, is_taken, stop.clone()).await.map_err(crate::Error::from)?)
    };
    let (shown, scraped) = tokio::join!(show, scrape);
    shown.and(scraped)
}

/// Prints what is asked for of an object, no more than is left.
fn show(arguments: &Arguments, object: &Object, left: &mut u64, out: &mut impl Write) -> Result<(), Error> {
    let mut printed = Ok(());
    decode::read(&object.bytes, &mut |series, samples| {
        let is_asked =
            arguments.select.as_ref().is_none_or(|select| select.takes(|label| series.labels.value(label)));
        if !is_asked || printed.is_err() {
            return;
        }
        let count = samples.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        printed = print::samples(out, series, samples.get(..count).unwrap_or_default(), arguments.format);
        *left -= count as u64;
    })?;
    printed?;
    Ok(out.flush()?)
}
