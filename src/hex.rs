//! Bytes as lower-case hexadecimal digits: how hashes are written everywhere.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};

/// The SHA-256 of something.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes))
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
