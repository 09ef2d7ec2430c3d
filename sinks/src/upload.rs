//! Uploading: oldest first, one in flight, each retried until a receipt.
