//! Archives beside a location's folder: at the top of the bucket, or where another program keeps them.
//!
//! A user who uploads archives with a sync app finds none of them in the list. `recover LOCATION KEY` adopts one from anywhere
//! in the bucket, so `list`, `import` and the page name them. It costs one page of the bucket, and a second one behind the
//! folder if that fills the first; a key that may list its own folder only gets no answer.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;

use super::location::Location;
use super::model::Beside;
use crate::store::{Error, Key, Object, Patience, Role, Store};

/// How long the page shows what was found.
const LIFETIME: Duration = Duration::from_mins(10);

/// How long the page waits for a look.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// Behind every key of a folder.
const LAST: char = char::MAX;

/// Returns the archives beside a location's folder, if there are any that could be copied into it.
pub async fn beside(location: &Location) -> Option<Beside> {
    if !location.store.can_copy_inside_to(&location.store) {
        return None;
    }
    let found = look(&location.store, location.folder.keys.folder()).await;
    let (objects, is_more) = found
        .inspect_err(|error| debug!("no look beside the folder: {error}"))
        .ok()?;
    let described: HashSet<&str> = objects.iter().filter_map(described).collect();
    let listing = location.catalog.last();
    let is_adopted = |tar: &Object| {
        let listed = listing.iter().flat_map(|listing| &listing.entries);
        let mut same = listed.filter(|entry| entry.tar.size == tar.size);
        same.any(|entry| name(&entry.tar.key) == name(&tar.key))
    };
    let mut archives = objects.iter().filter(|object| {
        let key = &object.key;
        key.role() == Role::Tar
            && !key.is_resource_fork()
            && !location.folder.holds(key)
            && key
                .as_str()
                .strip_suffix(".tar")
                .is_none_or(|stem| !described.contains(stem))
            && !is_adopted(object)
    });
    let first = archives.next()?;
    Some(Beside {
        archives: 1 + archives.count(),
        is_more,
        example: first.key.to_string(),
    })
}

/// The same for the page: at most once in ten minutes, and not for long.
pub async fn beside_lately(location: &Location) -> Option<Beside> {
    if let Some((at, found)) = location.beside()
        && at.elapsed() < LIFETIME
    {
        return found;
    }
    let looked = timeout(LOOK_WITHIN, beside(location)).await;
    let found = looked.ok().flatten();
    location.set_beside(found.clone());
    found
}

/// Lists the beginning of the bucket, and what comes behind the folder. Returns whether there is more.
async fn look(store: &Store, own: &str) -> Result<(Vec<Object>, bool), Error> {
    let (mut page, mut is_more) = store.page_after("", None, Patience::NONE).await?;
    let last = page.objects.last().map(|object| object.key.as_str());
    if is_more && last.is_some_and(|last| last.starts_with(own)) {
        let behind = format!("{own}{LAST}");
        match store.page_after("", Some(&behind), Patience::NONE).await {
            Ok((rest, more)) => {
                let known: HashSet<Key> = page.objects.iter().map(|it| it.key.clone()).collect();
                // Not every server knows `start-after`.
                let rest = rest.objects.into_iter();
                page.objects
                    .extend(rest.filter(|it| !known.contains(&it.key)));
                is_more = more;
            }
            // What the first page shows lies there all the same.
            Err(error) => debug!("no look behind the folder: {error}"),
        }
    }
    Ok((page.objects, is_more))
}

/// The stem that a metadata object describes.
fn described(object: &Object) -> Option<&str> {
    object.key.as_str().strip_suffix(".metadata.json")
}

fn name(key: &Key) -> &str {
    let key = key.as_str();
    key.rsplit_once('/').map_or(key, |(_, name)| name)
}
