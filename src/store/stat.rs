//! What a server knows of an object without sending it: its size, and checksums of all its bytes.
//!
//! Source: "Checking object integrity in Amazon S3" in Amazon's user guide. A checksum of parts, which ends in their
//! number, is no checksum of the bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::retry::{Patience, retry};
use super::s3::S3;
use super::{Error, Key, Object, Outcome, Store, StoreBackend};
use crate::config::Encryption;

/// A checksum of an object's bytes that the agent can compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256
    Sha256,
    /// CRC-32C
    Crc32c,
    /// CRC-64/NVME
    Crc64Nvme,
}

/// What a server says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Size in bytes.
    pub size: u64,
    /// What changes when the object does, where the server says it.
    pub version: Option<String>,
    /// Checksums of all its bytes, big-endian.
    pub checksums: Vec<(Checksum, Vec<u8>)>,
}

impl Checksum {
    const ALL: [Self; 3] = [Self::Sha256, Self::Crc32c, Self::Crc64Nvme];

    const fn header(self) -> &'static str {
        match self {
            Self::Sha256 => "x-amz-checksum-sha256",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
        }
    }
}

impl Stat {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let size = text("content-length")?.parse().ok()?;
        let is_of_parts = text("x-amz-checksum-type") == Some("COMPOSITE");
        let read = |checksum: Checksum| {
            let value = BASE64_STANDARD.decode(text(checksum.header())?).ok()?;
            (!is_of_parts && value.len() == checksum.bytes()).then_some((checksum, value))
        };
        let version = text("etag").map(str::to_owned);
        Some(Self {
            size,
            version,
            checksums: Checksum::ALL.into_iter().filter_map(read).collect(),
        })
    }
}

impl Store {
    /// What the server knows of an object; a directory knows no checksums.
    ///
    /// # Errors
    /// [`Outcome::NotFound`], and what else a request can come to.
    pub async fn stat(&self, key: &Key, patience: Patience) -> Result<Stat, Error> {
        if let StoreBackend::S3(s3) = &*self.backend
            && !matches!(s3.encryption(), Encryption::Customer(_))
        {
            let action = &self.action("find", key);
            match retry(patience, || head(s3, key, action)).await {
                Ok(Some(stat)) => return Ok(stat),
                Err(error)
                    if error.outcome == Outcome::NotFound || error.outcome.is_transient() =>
                {
                    return Err(error);
                }
                // A provider that knows no checksums may refuse to be asked for them.
                Ok(None) | Err(_) => {}
            }
        }
        let Object { size, version, .. } = self.object(key, patience).await?;
        Ok(Stat {
            size,
            version: Some(version),
            checksums: Vec::new(),
        })
    }
}

async fn head(s3: &S3, key: &Key, action: &str) -> Result<Option<Stat>, Error> {
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-amz-checksum-mode"),
        HeaderValue::from_static("ENABLED"),
    )]);
    let answer = s3
        .request(Method::HEAD, Some(key), &[], headers, Bytes::new())
        .await;
    Ok(Stat::read(
        answer
            .map_err(|error| Error::from_http(error, action))?
            .headers(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Option<Stat> {
        Stat::read(
            &headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
        )
    }

    #[test]
    fn checksums_of_all_bytes_are_taken_and_those_of_parts_are_not() {
        let whole = read(&[
            ("content-length", "7"),
            ("x-amz-checksum-crc32c", "AAAAAQ=="),
            ("etag", "\"e\""),
        ])
        .unwrap();
        assert_eq!(whole.version.as_deref(), Some("\"e\""));
        assert_eq!(
            (whole.size, whole.checksums),
            (7, vec![(Checksum::Crc32c, vec![0, 0, 0, 1])])
        );
        for of_parts in [
            [
                ("x-amz-checksum-crc32c", "AAAAAQ==-3"),
                ("content-length", "7"),
            ],
            [
                ("x-amz-checksum-crc32c", "AAAAAQ=="),
                ("x-amz-checksum-type", "COMPOSITE"),
            ],
        ] {
            let stat = read(&[&[("content-length", "7")], &of_parts[..]].concat()).unwrap();
            assert_eq!(stat.checksums, []);
        }
        assert_eq!(read(&[("x-amz-checksum-crc32c", "AAAAAQ==")]), None);
    }
}
