//! List of the backups of a location: cached, taken once for concurrent callers, and served stale while storage is away.
//!
//! A scan costs one request per page and one read per metadata object that is new or changed; unchanged ones come from
//! the last list, by key and `ETag`. Lists are cached by generation: a change in the bucket starts a new generation, so
//! that a scan that raced with the change is never served afterwards.
//!
//! A catalog belongs to a location and not to its folder: another key may see other objects.

mod cache;
mod entry;
mod listing;
mod rows;
mod scan;
mod sorted;

pub use cache::{ANSWER_WITHIN, Catalog, LIFETIME};
pub use entry::{Entry, Metadata};
pub(super) use entry::{MAX_METADATA_BYTES, refuse_oversized};
pub use listing::{Listing, View};
pub use rows::Row;
pub(super) use scan::{scan_flat, why_not_a_backup};
