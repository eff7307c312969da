//! Detours around caches and proxies that change requests or answers.

use super::e_tag::is_weak;
use crate::store::error::{AtOnce, Error, Outcome};
use crate::store::key::{Key, Role};

/// Detours that the next attempt takes, or that a location always needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each detour is taken or not, independently of the others"
)]
pub(super) struct Detours {
    /// Leaves `If-Match` out and compares the `ETag` of the answer: a proxy that compresses makes tags weak, and a weak tag
    /// never matches. Source: RFC 9110, section 13.1.1.
    no_condition: bool,
    /// Reads by GET what HEAD would tell: nginx and Cloudflare send a GET to the server for a HEAD that they cache, which
    /// has another signature. Source: `proxy_cache_convert_head` in nginx's documentation of `ngx_http_proxy_module`.
    pub(super) get_for_head: bool,
    /// Leaves `Content-Type` out, which is signed: a proxy changes it.
    pub(super) no_content_type: bool,
    /// Adds `Content-MD5` to content: a bucket with a lock demands a digest that the server verifies, and not every one takes a
    /// checksum in a header of its own. Source: `Content-MD5` in Amazon's API reference of `PutObject`.
    pub(super) with_md5: bool,
    /// Reads by another URL, because a cache may still answer that the object does not exist. The AWS SDKs send `x-id`
    /// with each GET, so servers know and ignore it.
    pub(super) past_cache: bool,
}

impl Detours {
    /// Whether `If-Match` may carry this tag.
    pub(super) fn may_compare(self, e_tag: &str) -> bool {
        !self.no_condition && !is_weak(e_tag)
    }

    /// Adds the next attempt to the error of a GET that a cache may have answered.
    pub(super) fn after_get(self, error: Error, key: &Key, e_tag: Option<&str>) -> Error {
        let had_condition = e_tag.is_some_and(|e_tag| self.may_compare(e_tag));
        let next = match error.outcome {
            Outcome::Changed if had_condition => Self {
                no_condition: true,
                ..self
            },
            Outcome::NotFound if key.role() == Role::Tar && !self.past_cache => Self {
                past_cache: true,
                ..self
            },
            _ => return error,
        };
        next.due_after(error)
    }

    /// Adds the next attempt to the error of a HEAD: its answer has no document, so a refusal has no reason.
    pub(super) fn after_head(self, error: Error) -> Error {
        let is_unexplained = error.provider_code.is_none()
            && matches!(
                error.outcome,
                Outcome::Forbidden | Outcome::Auth | Outcome::Refused
            );
        if !is_unexplained {
            return error;
        }
        let next = Self {
            get_for_head: true,
            ..self
        };
        next.due_after(error)
    }

    /// Adds the next attempt to the error of a request whose `Content-Type` a proxy may have changed.
    pub(super) fn without_content_type(self, error: Error) -> Error {
        let next = Self {
            no_content_type: true,
            ..self
        };
        next.due_after(error)
    }

    /// Adds the next attempt to the error of a request whose content the bucket takes only with a digest.
    pub(super) fn with_md5(self, error: Error) -> Error {
        let next = Self {
            with_md5: true,
            ..self
        };
        next.due_after(error)
    }

    fn due_after(self, error: Error) -> Error {
        let at_once = error.at_once.or_else(|| Some(AtOnce::with(self)));
        Error { at_once, ..error }
    }

    /// Those that all later requests of a location need, too.
    pub(super) fn lasting(self) -> Self {
        Self {
            past_cache: false,
            ..self
        }
    }
}
