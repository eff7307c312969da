//! Objects of a folder, paired: metadata with its tar.

use std::collections::HashMap;

use crate::agent::model::{SkipCode, Skipped};
use crate::store::{Key, Object, Objects, Role};

/// Objects of a folder.
#[derive(Default)]
pub(super) struct Sorted {
    /// Metadata objects with their tars.
    pub(super) pairs: Vec<(Object, Object)>,
    /// Tars without metadata, sorted by key.
    pub(super) orphans: Vec<Object>,
    /// Metadata without a tar, or with an unusable key.
    pub(super) skipped: Vec<Skipped>,
}

impl From<Objects> for Sorted {
    fn from(objects: Objects) -> Self {
        let mut sorted = Self::default();
        for key in objects
            .unreachable
            .into_iter()
            .filter(|key| key.ends_with(".metadata.json"))
        {
            let reason = "its key cannot be asked for; rename the object and its tar";
            sorted
                .skipped
                .push(Skipped::new(key, SkipCode::UnreachableKey, reason));
        }
        let (metadata, others): (Vec<_>, Vec<_>) = objects
            .objects
            .into_iter()
            .partition(|object| object.key.role() == Role::Metadata);
        let mut tars: HashMap<Key, Object> = others
            .into_iter()
            .filter(|object| object.key.role() == Role::Tar && !object.key.is_resource_fork())
            .map(|object| (object.key.clone(), object))
            .collect();
        for object in metadata {
            if let Some(tar) = object
                .key
                .tar_of_metadata()
                .and_then(|key| tars.remove(&key))
            {
                sorted.pairs.push((object, tar));
            } else {
                sorted.skipped.push(Skipped::new(
                    object.key.as_str(),
                    SkipCode::TarMissing,
                    "its tar is missing",
                ));
            }
        }
        sorted.orphans = tars.into_values().collect();
        sorted.orphans.sort_by(|a, b| a.key.cmp(&b.key));
        sorted
    }
}
