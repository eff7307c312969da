//! The `Range` header. Source: RFC 9110, section 14.

use std::ops::Range;

use axum::http::{HeaderMap, header};

use crate::error::{Error, Kind, Result};

/// The requested part of a backup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Requested {
    /// The whole tar.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes outside the tar.
    Outside,
}

/// Parses `Range` and `If-Range` for an object of `size` bytes.
///
/// # Errors
/// [`Kind::InvalidRequest`] for a header that is not one range of bytes: serving the whole tar instead could waste a
/// gigabyte of traffic.
pub(crate) fn requested(headers: &HeaderMap, size: u64, e_tag: &str) -> Result<Requested> {
    let Some(range) = headers.get(header::RANGE) else {
        return Ok(Requested::Whole);
    };
    if headers
        .get(header::IF_RANGE)
        .is_some_and(|wanted| wanted.as_bytes() != e_tag.as_bytes())
    {
        return Ok(Requested::Whole);
    }
    let text = range.to_str().unwrap_or_default();
    let (first, last) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .and_then(|(first, last)| Some((number(first)?, number(last)?)))
        .ok_or_else(|| {
            Error::new(
                Kind::InvalidRequest,
                format!("\"{text}\" is not one range of bytes."),
            )
        })?;
    Ok(match (first, last) {
        (Some(first), last) if first < size && last.is_none_or(|last| last >= first) => {
            Requested::Part(first..last.map_or(size, |last| last.saturating_add(1).min(size)))
        }
        (None, Some(length)) if length > 0 && size > 0 => {
            Requested::Part(size.saturating_sub(length)..size)
        }
        _ => Requested::Outside,
    })
}

/// Parses a number that may be absent.
#[expect(
    clippy::option_option,
    reason = "unreadable, absent and present are three different things"
)]
fn number(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(range: &str) -> Result<Requested> {
        let headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
        requested(&headers, 100, "\"e\"")
    }

    #[test]
    fn single_range_is_parsed() {
        assert_eq!(read("bytes=0-").unwrap(), Requested::Part(0..100));
        assert_eq!(read("bytes=10-19").unwrap(), Requested::Part(10..20));
        assert_eq!(read("bytes=90-500").unwrap(), Requested::Part(90..100));
        assert_eq!(read("bytes=-5").unwrap(), Requested::Part(95..100));
        assert_eq!(read("bytes=-500").unwrap(), Requested::Part(0..100));
        for outside in ["bytes=100-", "bytes=20-10", "bytes=-0", "bytes=-"] {
            assert_eq!(read(outside).unwrap(), Requested::Outside, "{outside}");
        }
    }

    #[test]
    fn other_ranges_are_rejected() {
        for wrong in [
            "bytes=1-2,4-5",
            "lines=1-2",
            "bytes=a-b",
            "bytes",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(
                read(wrong).unwrap_err().kind(),
                Kind::InvalidRequest,
                "{wrong}"
            );
        }
    }

    #[test]
    fn range_of_another_version_gets_the_whole() {
        let mut headers = HeaderMap::from_iter([(header::RANGE, "bytes=1-2".parse().unwrap())]);
        headers.insert(header::IF_RANGE, "\"other\"".parse().unwrap());
        assert_eq!(requested(&headers, 100, "\"e\"").unwrap(), Requested::Whole);
    }
}
