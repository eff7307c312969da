//! Ranges: what a server sends for one.

use std::future::ready;
use std::ops::Range;

use bytes::{Buf, Bytes};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use http::StatusCode;

use super::transport::Reply;
use crate::store::error::Error;

/// Part of an object in the body of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) object_size: u64,
    /// Range that was asked for, when the body has the whole object instead.
    cut: Option<Range<u64>>,
}

/// Reads what the answer to a request for `range` has; without a range, the whole object.
///
/// A cache may drop the range and send the whole object, and rclone sends the range with the status of the whole.
/// Sources: RFC 9110, section 14.2 ("a server MAY ignore the Range header field"); rclone 1.75's `serve s3`.
pub(super) fn sent(reply: &Reply, range: Option<&Range<u64>>) -> Option<Sent> {
    let length = reply
        .header("content-length")
        .and_then(|length| length.parse().ok());
    let Some(range) = range else {
        return Some(Sent {
            object_size: length?,
            cut: None,
        });
    };
    if let Some(content_range) = reply.header("content-range") {
        let object_size = size_in(content_range, range)?;
        let expected = range.end.min(object_size) - range.start;
        let is_range = match reply.status {
            StatusCode::PARTIAL_CONTENT => true,
            StatusCode::OK => length == Some(expected),
            _ => false,
        };
        return is_range.then_some(Sent {
            object_size,
            cut: None,
        });
    }
    let object_size =
        length.filter(|size| reply.status == StatusCode::OK && range.start < *size)?;
    let is_more = range.start > 0 || range.end < object_size;
    Some(Sent {
        object_size,
        cut: is_more.then(|| range.clone()),
    })
}

/// Size of the object in `bytes START-END/SIZE`, when that is the range.
fn size_in(content_range: &str, range: &Range<u64>) -> Option<u64> {
    let (sent, size) = content_range
        .trim()
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (start, end) = sent.split_once('-')?;
    let sent = start.parse().ok()?..end.parse::<u64>().ok()?.checked_add(1)?;
    let size: u64 = size.parse().ok()?;
    (sent == (range.start..range.end.min(size))).then_some(size)
}

impl Sent {
    pub(super) fn ignores_range(&self) -> bool {
        self.cut.is_some()
    }

    /// Cuts the range out of the body.
    pub(super) fn cut(
        self,
        body: BoxStream<'static, Result<Bytes, Error>>,
    ) -> BoxStream<'static, Result<Bytes, Error>> {
        let Some(range) = self.cut else {
            return body;
        };
        let (skip, rest) = (range.start, range.end - range.start);
        stream::try_unfold(
            (body, skip, rest),
            |(mut body, mut skip, rest)| async move {
                if rest == 0 {
                    return Ok(None);
                }
                let Some(mut piece) = body.try_next().await? else {
                    return Ok(None);
                };
                let before = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
                piece.advance(before);
                skip -= before as u64;
                piece.truncate(usize::try_from(rest).unwrap_or(usize::MAX));
                let rest = rest - piece.len() as u64;
                Ok(Some((piece, (body, skip, rest))))
            },
        )
        .try_filter(|piece| ready(!piece.is_empty()))
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::transport::tests::reply;
    use super::*;

    #[test]
    fn only_the_requested_range_is_accepted() {
        for (status, content_range, expected) in [
            (206, "bytes 5-9/100", Some(100)),
            (206, "bytes 5-7/8", Some(8)),
            (200, "bytes 5-9/100", None),
            (206, "bytes 4-9/100", None),
            (206, "bytes 5-8/100", None),
            (206, "bytes 5-18446744073709551615/100", None),
            (206, "5-9/100", None),
        ] {
            let found = sent(
                &reply(status, &[("content-range", content_range)]),
                Some(&(5..10)),
            );
            assert_eq!(
                found.map(|sent| sent.object_size),
                expected,
                "{content_range}"
            );
        }
    }

    #[test]
    fn range_with_the_status_of_the_whole_needs_its_length() {
        for (status, length, expected) in [
            (200, "5", Some(100)),
            (200, "100", None),
            (200, "4", None),
            (204, "5", None),
        ] {
            let headers = [
                ("content-range", "bytes 5-9/100"),
                ("content-length", length),
            ];
            let found = sent(&reply(status, &headers), Some(&(5..10)));
            assert_eq!(found.map(|sent| sent.object_size), expected, "{length}");
        }
    }

    #[tokio::test]
    async fn range_is_cut_out_of_the_whole_object() {
        let whole = Bytes::from_static(b"0123456789");
        for (range, expected, ignores) in [
            (0..10, "0123456789", false),
            (0..64, "0123456789", false),
            (0..4, "0123", true),
            (3..7, "3456", true),
            (8..64, "89", true),
        ] {
            let found = sent(&reply(200, &[("content-length", "10")]), Some(&range)).unwrap();
            assert_eq!((found.object_size, found.ignores_range()), (10, ignores));
            let pieces: Vec<_> = whole
                .chunks(3)
                .map(|piece| Ok(whole.slice_ref(piece)))
                .collect();
            let body = found.cut(stream::iter(pieces).boxed());
            let read: Vec<Bytes> = body.try_collect().await.unwrap();
            assert_eq!(read.concat(), expected.as_bytes(), "{range:?}");
        }
        assert_eq!(
            sent(&reply(200, &[("content-length", "10")]), Some(&(10..12))),
            None
        );
        assert_eq!(
            sent(&reply(206, &[("content-length", "10")]), Some(&(0..2))),
            None
        );
    }
}
