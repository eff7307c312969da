//! What a restore does, as the user is asked about it.

use std::fmt::{self, Write};

use serde::Deserialize;
use serde_json::{Value, json};

use super::choice::Choice;
use crate::cli::output::size;
use crate::error::{Error, Kind};
use crate::home_assistant::{Failure, Installation, Version};

/// The new Home Assistant.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) installation: Installation,
    /// Its version, if it says so.
    pub(super) version: Option<String>,
}

/// A restore that may begin.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) backup_id: String,
    pub(super) target: Target,
    pub(super) is_encrypted: bool,
    pub(super) has_database: bool,
    pub(super) apps: Vec<String>,
    pub(super) folders: Vec<String>,
    url: String,
    name: String,
    date: String,
    size_bytes: u64,
    version: String,
    /// Whether its SHA-256 is known.
    is_verifiable: bool,
    notes: Vec<String>,
}

/// Fields of a backup. Source: `AgentBackup` in `homeassistant/components/backup/models.py`.
#[derive(Debug, Deserialize)]
struct Fields {
    backup_id: String,
    name: String,
    date: String,
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    database_included: bool,
    #[serde(default)]
    homeassistant_included: bool,
    #[serde(default)]
    homeassistant_version: Option<String>,
    #[serde(default)]
    addons: Vec<App>,
    #[serde(default)]
    folders: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct App {
    slug: String,
}

impl Plan {
    /// Plans a restore.
    ///
    /// # Errors
    /// [`Failure::TooOld`], [`Failure::WithoutHomeAssistant`]; [`Kind::InvalidMetadata`] for a backup in another form.
    pub(super) fn of(choice: &Choice, target: Target, url: &str) -> Result<Self, PlanError> {
        let metadata = &choice.entry.metadata;
        let invalid = |detail: String| PlanError::Backup(Error::new(Kind::InvalidMetadata, detail));
        let fields: Fields = serde_json::from_str(metadata.json.get()).map_err(|error| {
            let id = &metadata.backup_id;
            invalid(format!(
                "The metadata of {id} has another form than Home Assistant writes: {error}."
            ))
        })?;
        let Some(version) = fields
            .homeassistant_version
            .filter(|_| fields.homeassistant_included)
        else {
            let failure = Failure::WithoutHomeAssistant(fields.backup_id);
            return Err(PlanError::Target(failure));
        };
        let plan = Self {
            backup_id: fields.backup_id,
            url: url.to_owned(),
            is_encrypted: fields.protected,
            has_database: fields.database_included,
            apps: fields.addons.into_iter().map(|app| app.slug).collect(),
            folders: fields.folders,
            name: fields.name,
            date: fields.date,
            size_bytes: choice.entry.tar.size,
            version,
            is_verifiable: metadata.sha256().is_some(),
            notes: choice.notes.clone(),
            target,
        };
        match plan.too_old() {
            Some(failure) => Err(PlanError::Target(failure)),
            None => Ok(plan),
        }
    }

    /// Supervisor installs the version of the backup; Home Assistant alone needs it already.
    fn too_old(&self) -> Option<Failure> {
        let has = self.target.version.as_ref()?;
        let is_too_old = Version::parse(has)? < Version::parse(&self.version)?;
        let decides = self.target.installation == Installation::Alone;
        (is_too_old && decides).then(|| Failure::TooOld {
            has: has.clone(),
            needed: self.version.clone(),
        })
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "backup_id": self.backup_id, "name": self.name, "date": self.date, "size_bytes": self.size_bytes,
            "encrypted": self.is_encrypted, "homeassistant_version": self.version, "database": self.has_database,
            "addons": self.apps, "folders": self.folders, "notes": self.notes, "verifiable": self.is_verifiable,
            "to": {
                "url": self.url, "version": self.target.version,
                "supervisor": self.target.installation == Installation::Supervised,
            },
        })
    }

    /// What the user does after the restore.
    pub(super) const fn next_steps(&self) -> &'static str {
        match self.target.installation {
            Installation::Supervised => {
                "Supervisor may still restore apps. Then look into Settings > System > Repairs, and save the encryption key again."
            }
            Installation::Alone => {
                "Settings > System > Backups and its log show whether all was restored: without a login, this command \
                 sees only that it is back. Start the agent as before: buckets that you added in Home Assistant are in the backup, an agent.toml is not. \
                 Then look into Settings > System > Repairs."
            }
        }
    }

    fn contents(&self) -> String {
        let database = if self.has_database { "with" } else { "without" };
        let mut text = format!("Home Assistant {} {database} its history", self.version);
        if !self.apps.is_empty() {
            let _ = write!(text, "; apps {}", self.apps.join(", "));
        }
        if !self.folders.is_empty() {
            let _ = write!(text, "; folders {}", self.folders.join(", "));
        }
        text
    }
}

/// Why a restore cannot begin.
#[derive(Debug)]
pub(super) enum PlanError {
    /// By the backup.
    Backup(Error),
    /// By the new Home Assistant, and what it could restore.
    Target(Failure),
}

impl From<PlanError> for crate::cli::CommandError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Backup(error) => error.into(),
            PlanError::Target(failure) => failure.into(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date.get(..16).unwrap_or(&self.date).replace('T', " ");
        let encrypted = if self.is_encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        writeln!(f, "Backup    {} ({})", self.name, self.backup_id)?;
        writeln!(f, "Made      {date}")?;
        writeln!(f, "Size      {}, {encrypted}", size(self.size_bytes))?;
        writeln!(f, "Contains  {}", self.contents())?;
        for note in &self.notes {
            writeln!(f, "Note      {note}")?;
        }
        if !self.is_verifiable {
            writeln!(
                f,
                "Note      Another tool uploaded it without a SHA-256, so damage may go unnoticed."
            )?;
        }
        let has_more = !self.apps.is_empty() || !self.folders.is_empty();
        if has_more && self.target.installation == Installation::Alone {
            writeln!(
                f,
                "Note      Without Supervisor, apps and folders are left out."
            )?;
        }
        let version = self
            .target
            .version
            .as_deref()
            .unwrap_or("of an unknown version");
        write!(f, "To        Home Assistant {version} at {}", self.url)
    }
}
