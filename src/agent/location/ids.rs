//! Ids of configured locations without an id of their own: derived once, then remembered for the bucket and prefix.
//!
//! Home Assistant knows a location by its id. A corrected endpoint or region would derive another one, and automatic backups
//! would stop. So the id of a bucket and prefix stays, unless another location of the configuration still has the endpoint
//! that it was derived from: two providers may both have a bucket of this name.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::agent::kept::keep;
use crate::config::{Backend, Location};

/// Name of the file in the state directory.
const FILE: &str = "location_ids.json";

/// The id of one folder, and the endpoint at which it was last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    bucket: String,
    prefix: String,
    endpoint: String,
    id: String,
}

/// Gives locations with a derived id the one that is remembered for their bucket and prefix. Writes nothing.
pub fn recall(locations: &mut [Location], state_dir: &Path) {
    settle(locations, &mut read(state_dir));
}

/// The same, and remembers the ids.
pub fn remember(locations: &mut [Location], state_dir: &Path) {
    let before = read(state_dir);
    let mut remembered = before.clone();
    settle(locations, &mut remembered);
    if remembered == before {
        return;
    }
    let path = state_dir.join(FILE);
    let written = serde_json::to_vec_pretty(&remembered).map_err(std::io::Error::from);
    if let Err(error) = written.and_then(|text| keep(&path, &text)) {
        warn!(
            "\"{}\" cannot be written: {error}; a location without an id gets another one when its endpoint changes",
            path.display()
        );
    }
}

/// An unreadable file counts as none.
fn read(state_dir: &Path) -> Vec<Remembered> {
    let text = fs::read(state_dir.join(FILE)).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

fn settle(locations: &mut [Location], remembered: &mut Vec<Remembered>) {
    let folders: Vec<Option<Remembered>> = locations.iter().map(derived).collect();
    let endpoints: HashSet<&str> = folders
        .iter()
        .flatten()
        .map(|folder| folder.endpoint.as_str())
        .collect();
    let mut used: HashSet<String> = locations
        .iter()
        .filter(|location| !location.has_derived_id)
        .map(|location| location.id.clone())
        .collect();
    for (location, folder) in locations.iter_mut().zip(&folders) {
        let Some(folder) = folder else { continue };
        let is_free = |known: &Remembered| !used.contains(&known.id);
        let at = |known: &Remembered| {
            (&known.bucket, &known.prefix) == (&folder.bucket, &folder.prefix) && is_free(known)
        };
        let same = remembered
            .iter()
            .position(|known| at(known) && known.endpoint == folder.endpoint);
        let moved = || {
            remembered
                .iter()
                .rposition(|known| at(known) && !endpoints.contains(known.endpoint.as_str()))
        };
        if let Some(index) = same.or_else(moved) {
            let known = &mut remembered[index];
            if known.endpoint != folder.endpoint {
                info!(
                    id = known.id,
                    "location \"{}\" has another endpoint and keeps its id", location.name
                );
                known.endpoint.clone_from(&folder.endpoint);
            }
            location.id.clone_from(&known.id);
        } else {
            let numbered = (2..).map(|number| format!("{}-{number}", folder.id));
            let mut ids = std::iter::once(folder.id.clone()).chain(numbered);
            location.id = ids.find(|id| !used.contains(id)).unwrap_or_default();
            remembered.push(Remembered {
                id: location.id.clone(),
                ..folder.clone()
            });
        }
        used.insert(location.id.clone());
    }
}

/// What to remember of a location without an id of its own.
fn derived(location: &Location) -> Option<Remembered> {
    let Backend::S3(s3) = &location.backend else {
        return None;
    };
    location.has_derived_id.then(|| Remembered {
        bucket: s3.bucket.clone(),
        prefix: location.prefix.clone(),
        endpoint: s3.endpoint.to_string(),
        id: location.id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn location(endpoint: &str, prefix: &str, id: Option<&str>) -> Location {
        let mut settings = json!({"endpoint": endpoint, "bucket": "ha-backups", "prefix": prefix,
            "access_key_id": "key", "secret_access_key": "secret"});
        if let Some(id) = id {
            settings["id"] = id.into();
        }
        Location::from_json(&settings).unwrap().0
    }

    /// Ids after a start with these locations.
    fn started(
        folder: &tempfile::TempDir,
        locations: &[(&str, &str, Option<&str>)],
    ) -> Vec<String> {
        let mut locations: Vec<_> = locations
            .iter()
            .map(|(endpoint, prefix, id)| location(endpoint, prefix, *id))
            .collect();
        let mut recalled = locations.clone();
        remember(&mut locations, folder.path());
        recall(&mut recalled, folder.path());
        assert_eq!(recalled, locations, "commands use the same ids");
        locations.into_iter().map(|location| location.id).collect()
    }

    const OLD: &str = "https://s3.us-west-004.backblazeb2.com";
    const NEW: &str = "https://s3.eu-central-003.backblazeb2.com";

    #[test]
    fn id_stays_when_the_endpoint_is_corrected() {
        let folder = tempfile::tempdir().unwrap();
        let first = started(&folder, &[(OLD, "home", None)]);
        assert_eq!(
            first[0],
            location(OLD, "home", None).id,
            "as in version 0.1"
        );
        assert_eq!(started(&folder, &[(NEW, "home", None)]), first);
        assert_eq!(started(&folder, &[(NEW, "home", None)]), first);
        assert_eq!(started(&folder, &[(OLD, "home", None)]), first);
    }

    #[test]
    fn other_folder_provider_or_own_id_gets_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = started(&folder, &[(OLD, "home", None)]);
        let both = started(&folder, &[(OLD, "home", None), (NEW, "home", None)]);
        assert_eq!(both[0], first[0]);
        assert_ne!(both[1], first[0]);
        assert_eq!(
            started(&folder, &[(NEW, "home", None), (OLD, "home", None)]),
            [both[1].clone(), both[0].clone()]
        );
        assert_ne!(started(&folder, &[(OLD, "attic", None)]), first);
    }

    #[test]
    fn earlier_endpoint_in_use_again_gets_an_id_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let first = started(&folder, &[(OLD, "home", None)]);
        started(&folder, &[(NEW, "home", None)]);
        let both = started(&folder, &[(NEW, "home", None), (OLD, "home", None)]);
        assert_eq!(both, [first[0].clone(), format!("{}-2", first[0])]);
        assert_eq!(
            started(&folder, &[(OLD, "home", None), (NEW, "home", None)]),
            [both[1].clone(), both[0].clone()]
        );
    }

    #[test]
    fn without_a_state_directory_ids_are_derived() {
        let mut locations = [location(OLD, "", None)];
        remember(&mut locations, Path::new("/nowhere"));
        assert_eq!(locations[0].id, location(OLD, "", None).id);
    }
}
