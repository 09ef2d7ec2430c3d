//! Compression of pages, with one context that lives as long as the encoder.

use std::fmt;

use super::Compression;

/// What a page holds, which is how much time its compression is worth.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// Values and timestamps, which are new in every object.
    Numbers,
    /// Texts and their keys, which are mostly compressed once for many objects.
    Texts,
}

impl Content {
    /// Level of zstd. See [`Compression::Zstd`].
    fn zstd_level(self) -> i32 {
        match self {
            Self::Numbers => 1,
            Self::Texts => 3,
        }
    }
}

/// A compressor for any number of pages.
pub(super) enum Compressor {
    Zstd(zstd::bulk::Compressor<'static>),
    Lz4,
    Snappy(Box<snap::raw::Encoder>),
    None,
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> std::io::Result<Self> {
        Ok(match compression {
            Compression::Zstd => Self::Zstd(zstd::bulk::Compressor::new(Content::Numbers.zstd_level())?),
            Compression::Lz4 => Self::Lz4,
            Compression::Snappy => Self::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::None => Self::None,
        })
    }

    /// The codec as a file names it.
    pub(super) fn codec(&self) -> parquet::basic::Compression {
        match self {
            Self::Zstd(_) => parquet::basic::Compression::ZSTD(parquet::basic::ZstdLevel::default()),
            Self::Lz4 => parquet::basic::Compression::LZ4_RAW,
            Self::Snappy(_) => parquet::basic::Compression::SNAPPY,
            Self::None => parquet::basic::Compression::UNCOMPRESSED,
        }
    }

    /// One page, compressed.
    pub(super) fn compress(&mut self, page: &[u8], content: Content) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Zstd(compressor) => {
                compressor.set_compression_level(content.zstd_level())?;
                compressor.compress(page)
            }
            Self::Lz4 => Ok(lz4_flex::block::compress(page)),
            Self::Snappy(encoder) => Ok(encoder.compress_vec(page)?),
            Self::None => Ok(page.to_vec()),
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.codec(), f)
    }
}
