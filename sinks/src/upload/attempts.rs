//! One object under one key at one place: attempts until the outcome is certain.

use std::sync::Arc;

use tokio::time::Instant;

use super::trouble::Trouble;
use super::{Delivery, Uploader};
use crate::spool::SpooledObject;
use crate::store::{Body, Condition, Location, Next, Store};

impl<S: Store> Uploader<S> {
    /// Attempts until the outcome is certain. `maybe_sent` says that an earlier attempt may have arrived. `None` where
    /// objects go to another place than `location` by now, for which the key was given.
    pub(super) async fn put_until_settled(
        &mut self,
        object: &SpooledObject,
        key: &str,
        mut maybe_sent: bool,
        location: &Location,
    ) -> Option<Delivery> {
        let body = Body { bytes: object.bytes.clone(), crc32: object.crc32 };
        let (store, metrics) = (Arc::clone(&self.store), Arc::clone(&self.metrics));
        let mut trouble = Trouble::new(self);
        let (mut condition, rejected) = (self.condition, self.rejected);
        let delivery = loop {
            store.ready().await;
            // Nothing comes between this and the request, which reads the place itself before it first waits.
            if store.location().as_ref() != Some(location) {
                break None;
            }
            let begun = Instant::now();
            let error = match store.put(key, &body, condition).await {
                Ok(receipt) => {
                    metrics.upload_seconds.observe(begun.elapsed().as_secs_f64());
                    let (etag, elapsed) = (receipt.etag, begun.elapsed());
                    tracing::debug!(
                        key,
                        bytes = body.bytes.len(),
                        samples = object.samples,
                        ?elapsed,
                        etag,
                        "uploaded"
                    );
                    break Some(Delivery::Arrived);
                }
                Err(error) => error,
            };
            match error.next {
                Next::Exists if maybe_sent => break Some(trouble.compare(key, &body).await),
                Next::Exists => break Some(trouble.compare_first(key, &body).await),
                Next::Reject if !rejected => {
                    metrics.upload_errors.with_label_values(&[error.class]).inc();
                    tracing::error!(key, %error, "store refused this object");
                    break Some(Delivery::Rejected);
                }
                Next::Unconditional if condition == Condition::Absent => {
                    tracing::warn!(key, %error, "store knows no conditional writes, uploading without them");
                    condition = Condition::None;
                }
                next => {
                    maybe_sent |= next == Next::Unknown;
                    trouble.step(&error).await;
                }
            }
        };
        trouble.over();
        self.condition = condition;
        delivery
    }
}
