//! One id for one folder: derived, set or registered once, then remembered for the bucket and prefix.
//!
//! Home Assistant knows a location by its id. If a corrected endpoint, or a bucket that moved from the app's options to Home
//! Assistant's form, had another one, automatic backups would stop. So the last id of a bucket and prefix stays, unless
//! another location has the endpoint that it belongs to: two providers may both have a bucket of this name.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::agent::kept::keep;
use crate::config::{Backend, Location, S3Settings};
use crate::units::sha256;

/// Name of the file in the state directory.
const FILE: &str = "location_ids.json";

/// Each change of an id is remembered; the oldest are dropped.
const MAX_REMEMBERED: usize = 1000;

/// An id of a folder, and the endpoint at which it was last. The last one of a folder counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    bucket: String,
    prefix: String,
    endpoint: String,
    id: String,
    /// Whether Home Assistant registered it. Its id follows no endpoint of the configuration: Home Assistant has it still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_registered: bool,
}

/// The remembered ids, while the agent runs.
#[derive(Debug)]
pub struct Ids {
    path: PathBuf,
    remembered: Mutex<Vec<Remembered>>,
    /// What the file holds. Locked before `remembered`.
    saved: Mutex<Vec<Remembered>>,
}

impl Ids {
    /// Reads the file in the state directory.
    #[must_use]
    pub fn read(state_dir: &Path) -> Self {
        let remembered = read(state_dir);
        Self {
            path: state_dir.join(FILE),
            saved: Mutex::new(remembered.clone()),
            remembered: Mutex::new(remembered),
        }
    }

    /// Every id under which Home Assistant may know a location's folder: remembered ones, and those that the agent and the
    /// integration of version 0.1 derive, maybe on another machine.
    pub(in crate::agent) fn of(&self, location: &Location) -> Vec<String> {
        let mut ids = vec![location.derived_id()];
        if let Backend::S3(s3) = &location.backend {
            ids.push(id_of_0_1(s3, &location.prefix));
        }
        if let Some(folder) = Remembered::of(location) {
            let remembered = self.remembered.lock();
            let same = remembered.iter().filter(|known| known.is_at(&folder));
            ids.extend(same.map(|known| known.id.clone()));
        }
        ids
    }

    /// The id for a location with these settings beside the others, if they set none.
    pub(in crate::agent) fn choose(&self, location: Location, others: Vec<Location>) -> String {
        let fixed = others.into_iter().map(|other| Location {
            has_derived_id: false,
            ..other
        });
        let mut locations: Vec<_> = std::iter::once(location).chain(fixed).collect();
        settle(&mut locations, &mut self.remembered.lock().clone());
        locations.swap_remove(0).id
    }

    /// Remembers the id of a location that Home Assistant registered.
    pub(in crate::agent) fn note(&self, location: &Location) {
        note(location, true, &mut self.remembered.lock());
    }

    /// Writes the file if an id is new. Blocks.
    pub(in crate::agent) fn save(&self) {
        let mut saved = self.saved.lock();
        let remembered = self.remembered.lock().clone();
        if *saved != remembered {
            write(&self.path, &remembered);
            *saved = remembered;
        }
    }
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
    for location in locations.iter() {
        note(location, false, &mut remembered);
    }
    if remembered != before {
        write(&state_dir.join(FILE), &remembered);
    }
}

/// An unreadable file counts as none.
fn read(state_dir: &Path) -> Vec<Remembered> {
    let text = fs::read(state_dir.join(FILE)).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

fn write(path: &Path, remembered: &[Remembered]) {
    let text = serde_json::to_vec_pretty(remembered).map_err(std::io::Error::from);
    if let Err(error) = text.and_then(|text| keep(path, &text)) {
        warn!(
            "\"{}\" cannot be written: {error}; a location without an id gets another one when its endpoint changes",
            path.display()
        );
    }
}

/// Remembers the id of a location as the last one of its folder, and of no other folder.
fn note(location: &Location, is_registered: bool, remembered: &mut Vec<Remembered>) {
    let Some(now) = Remembered::of(location) else {
        return;
    };
    let now = Remembered {
        is_registered,
        ..now
    };
    let last = remembered.iter().rfind(|known| known.is_at(&now));
    if last != Some(&now) {
        remembered.retain(|known| known.id != now.id);
        remembered.push(now);
        let excess = remembered.len().saturating_sub(MAX_REMEMBERED);
        remembered.drain(..excess);
    }
}

fn settle(locations: &mut [Location], remembered: &mut Vec<Remembered>) {
    let folders: Vec<Option<Remembered>> = locations.iter().map(Remembered::of).collect();
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
        let (true, Some(folder)) = (location.has_derived_id, folder) else {
            continue;
        };
        let is_free = |known: &Remembered| !used.contains(&known.id);
        let same = remembered
            .iter()
            .rposition(|known| is_free(known) && known.is_at(folder));
        let moved = || {
            remembered.iter().rposition(|known| {
                is_free(known)
                    && !known.is_registered
                    && (&known.bucket, &known.prefix) == (&folder.bucket, &folder.prefix)
                    && !endpoints.contains(known.endpoint.as_str())
            })
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

impl Remembered {
    /// What to remember of a location; nothing of a directory.
    fn of(location: &Location) -> Option<Self> {
        let Backend::S3(s3) = &location.backend else {
            return None;
        };
        Some(Self {
            bucket: s3.bucket.clone(),
            prefix: location.prefix.clone(),
            endpoint: s3.endpoint.to_string(),
            id: location.id.clone(),
            is_registered: false,
        })
    }

    /// Whether both are of one folder.
    fn is_at(&self, other: &Self) -> bool {
        (&self.bucket, &self.prefix, &self.endpoint)
            == (&other.bucket, &other.prefix, &other.endpoint)
    }
}

/// The id that the integration of version 0.1 derives for a bucket of its form.
fn id_of_0_1(s3: &S3Settings, prefix: &str) -> String {
    let endpoint = s3.endpoint.as_str().trim_end_matches('/');
    let folder = format!("{endpoint}\n{}\n{prefix}", s3.bucket);
    format!("ha-{}", &sha256(folder.as_bytes())[..12])
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
    fn last_id_of_a_folder_stays() {
        let folder = tempfile::tempdir().unwrap();
        let derived = started(&folder, &[(OLD, "home", None)]);
        let ids = Ids::read(folder.path());
        // Home Assistant registers the bucket after it left the options, and later its options have it again.
        let registered = location(OLD, "home", Some("ha-0123456789ab"));
        ids.note(&registered);
        ids.save();
        assert_eq!(
            ids.choose(location(OLD, "home", None), vec![]),
            registered.id
        );
        assert_eq!(started(&folder, &[(OLD, "home", None)]), [registered.id]);
        let explicit = started(&folder, &[(OLD, "home", Some("cellar"))]);
        assert_eq!(started(&folder, &[(OLD, "home", None)]), explicit);
        let known = Ids::read(folder.path()).of(&location(OLD, "home", None));
        for id in [&derived[0], "ha-0123456789ab", "cellar"] {
            assert!(known.iter().any(|known| known == id), "{id}: {known:?}");
        }
        // The id moves with its location to another folder.
        started(&folder, &[(OLD, "attic", Some("cellar"))]);
        let both = started(&folder, &[(OLD, "home", None), (OLD, "attic", None)]);
        assert_eq!(both, ["ha-0123456789ab", "cellar"]);
    }

    /// The location that Home Assistant has comes after those of the configuration, and would be refused.
    #[test]
    fn registered_id_is_given_to_no_other_endpoint() {
        let folder = tempfile::tempdir().unwrap();
        let ids = Ids::read(folder.path());
        let registered = location(OLD, "home", Some("ha-0123456789ab"));
        ids.note(&registered);
        ids.save();
        let other = location(NEW, "home", None);
        assert_eq!(ids.choose(other.clone(), vec![]), other.id);
        assert_eq!(started(&folder, &[(NEW, "home", None)]), [other.id]);
        assert_eq!(
            started(&folder, &[(OLD, "home", None)]),
            [registered.id],
            "moved from the form to the options"
        );
    }

    #[test]
    fn id_for_a_form_is_that_of_the_options_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let ids = Ids::read(folder.path());
        let asked = || location(OLD, "home", None);
        assert_eq!(ids.choose(asked(), vec![]), asked().id);
        let other = location(OLD, "attic", Some(&asked().id));
        assert_eq!(
            ids.choose(asked(), vec![other]),
            format!("{}-2", asked().id)
        );
        assert!(read(folder.path()).is_empty(), "choosing remembers nothing");
    }

    #[test]
    fn ids_of_version_0_1_are_known() {
        let folder = tempfile::tempdir().unwrap();
        // As `folder_id` of that integration returns them.
        for (endpoint, prefix, id) in [
            (OLD, "home", "ha-7ec4ad8b18a7"),
            ("HTTP://192.0.2.7:9000/", "", "ha-c3512439b2ee"),
        ] {
            let known = Ids::read(folder.path()).of(&location(endpoint, prefix, None));
            assert!(known.contains(&id.to_owned()), "{known:?}");
        }
    }

    #[test]
    fn without_a_state_directory_ids_are_derived() {
        let mut locations = [location(OLD, "", None)];
        remember(&mut locations, Path::new("/nowhere"));
        assert_eq!(locations[0].id, location(OLD, "", None).id);
    }
}
