//! What a backup lacks, by the list of its contents.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Result of comparing the archives in a backup's tar with the manifest. Each list has the names of archives without
/// their ending, and is bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Inventory {
    /// Whether nothing is missing, empty, or encrypted otherwise than the backup says.
    pub complete: bool,
    /// Archives that the manifest names and the tar lacks: a restore leaves these add-ons or folders out.
    pub missing: Vec<String>,
    /// Archives without content.
    pub empty: Vec<String>,
    /// Archives that anyone can read, in an encrypted backup.
    pub not_encrypted: Vec<String>,
    /// Encrypted archives in a backup that is not encrypted: a restore asks for no key, so it cannot open them.
    pub encrypted: Vec<String>,
    /// Archives that the manifest does not name: a restore ignores them. They are no fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub unexpected: Vec<String>,
}

impl Inventory {
    /// Names of all archives with a fault.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<_> = self.faults().flat_map(|(_, names)| names).collect();
        names
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Each list of faults, with a text for it.
    fn faults(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        [
            ("missing", &*self.missing),
            ("empty", &*self.empty),
            ("not encrypted", &*self.not_encrypted),
            ("encrypted, unlike the backup", &*self.encrypted),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
    }
}

/// The faults, such as `missing: addons_local; empty: share`.
impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (fault, names)) in self.faults().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}: {}", names.join(", ").escape_debug())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_are_told() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let inventory = Inventory {
            missing: names(&["addons_local", "core_\u{7}ssh"]),
            encrypted: names(&["share"]),
            unexpected: names(&["old"]),
            ..Inventory::default()
        };
        assert_eq!(
            inventory.to_string(),
            "missing: addons_local, core_\\u{7}ssh; encrypted, unlike the backup: share"
        );
        assert_eq!(Inventory::default().to_string(), "");
    }
}
