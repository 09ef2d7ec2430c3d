//! Fuzz targets: what must hold for any bytes that the disk or a server gives back. See `pipeline::fuzz`.

pub use crate::s3::fuzz::{answer, grant};
pub use crate::spool::fuzz::spool;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Runs a target over its corpus.
    fn replay(name: &str, target: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(name);
        let mut count = 0;
        for entry in std::fs::read_dir(&corpus).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} is empty", corpus.display());
    }

    #[test]
    fn grants_of_the_corpus() {
        replay("grant", super::grant);
    }

    #[test]
    fn answers_of_the_corpus() {
        replay("answer", super::answer);
    }

    #[test]
    fn spools_of_the_corpus() {
        replay("spool", super::spool);
    }
}
