//! Content that is at the same endpoint already: the storage copies it, and no byte passes through the agent.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::commit::{Content, Tar};
use super::parts::{Parts, Piece, Step};
use super::plan::Plan;
use super::resume::Ledger;
use crate::agent::download::split;
use crate::backup::Inventory;
use crate::error::Result;
use crate::store::CopySource;

/// Source of a copy inside the storage.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Inside {
    pub(in crate::agent) source: CopySource,
    pub(in crate::agent) size: u64,
    /// Digests of the source, if it has them.
    pub(in crate::agent) sha256: Option<String>,
    pub(in crate::agent) crc32: Option<String>,
    /// What the backup lacks, if its headers were read.
    pub(in crate::agent) inventory: Option<Box<Inventory>>,
    /// Bytes to copy with one request; a larger object is copied in parts.
    pub(in crate::agent) single_limit: u64,
}

/// Copies an object in parts.
#[derive(Debug)]
pub(super) struct InsideCopy {
    inside: Inside,
    pub(super) parts: Parts,
    ranges: VecDeque<Range<u64>>,
}

impl InsideCopy {
    pub(super) fn new(plan: Arc<Plan>, inside: Inside) -> Self {
        let ranges = if inside.size <= inside.single_limit {
            VecDeque::new()
        } else {
            split(0..inside.size, plan.part_size).collect()
        };
        Self {
            inside,
            parts: Parts::new(plan),
            ranges,
        }
    }

    /// The tar to commit, once all is copied, and its description; `part_size` is that of its parts in bytes.
    pub(super) fn finish(mut self, part_size: u64) -> (Content, Tar) {
        let inside = self.inside;
        let (tar, part_size) = match self.parts.finish() {
            Some((multipart, parts)) => (Tar::Parts(multipart, parts), part_size),
            None => (Tar::Inside(inside.source), inside.single_limit),
        };
        let content = Content {
            size: inside.size,
            part_size,
            sha256: inside.sha256,
            crc32: inside.crc32,
            inventory: inside.inventory,
        };
        (content, tar)
    }

    /// Copies until there is progress to tell; returns none once all is copied. Cancel safe.
    ///
    /// # Errors
    /// Errors of the storage.
    pub(super) async fn step(&mut self, ledger: &mut Ledger) -> Result<Option<Step>> {
        if !self.ranges.is_empty() {
            if let Some(step) = self.parts.ready(ledger).await? {
                return Ok(Some(step));
            }
            return Ok(self.ranges.pop_front().map(|range| {
                let source = self.inside.source.clone();
                self.parts.send(Piece::Inside(source, range))
            }));
        }
        if self.parts.are_running() {
            return self.parts.one_stored().await.map(Some);
        }
        Ok(None)
    }
}
