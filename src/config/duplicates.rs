//! Locations that cannot both exist: two with one id, and two with one folder.
//!
//! Home Assistant takes each location for a copy of its own. With two on one folder, its retention at one of them deletes the
//! backups of the other.

use super::folder::FolderId;
use super::location::Location;
use super::reader::Reader;

/// Removes each location that clashes with an earlier one, and reports it.
pub(super) fn remove(locations: &mut Vec<Location>, reader: &mut Reader<'_>) {
    let mut kept: Vec<Location> = Vec::new();
    for location in locations.drain(..) {
        match kept.iter().find_map(|first| clash(first, &location)) {
            Some(message) => {
                reader.problem("locations", message);
            }
            None => kept.push(location),
        }
    }
    *locations = kept;
}

/// Says why the second location cannot exist beside the first.
fn clash(first: &Location, second: &Location) -> Option<String> {
    let folder = FolderId::from(first);
    if folder == FolderId::from(second) {
        let is_same_id = first.id == second.id;
        let [first, second] = [first, second].map(|location| {
            if is_same_id {
                &location.name
            } else {
                &location.id
            }
        });
        return Some(format!(
            "\"{second}\" has the same folder as \"{first}\", {folder}: remove one of them, or give it another prefix"
        ));
    }
    let id = &first.id;
    (*id == second.id).then(|| {
        format!("has two locations with the id \"{id}\": give each its own id, or its own prefix")
    })
}
