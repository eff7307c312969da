//! The sources of the configuration, later wins: file, the app's options, environment.

use std::collections::HashMap;
use std::path::Path;

use config::{ConfigError, File, FileFormat, Map, Source, Value};

use super::Problem;

/// Where Supervisor puts the options from the app's configuration page.
pub const APP_OPTIONS: &str = "/data/options.json";

/// Names another file in its place.
pub const APP_OPTIONS_VARIABLE: &str = "S3_BACKUP_AGENT_OPTIONS";

/// What an environment variable for the agent starts with, as in `S3_BACKUP_AGENT__LOG__LEVEL`.
pub const ENVIRONMENT_PREFIX: &str = "S3_BACKUP_AGENT__";

/// Puts the layers over one another. Each value remembers where it came from; a file that cannot be read is a problem,
/// and left out.
pub(super) fn merged(
    file: Option<&Path>,
    options: &Path,
    environment: &HashMap<String, String>,
) -> (Value, Vec<Problem>) {
    let mut builder = config::Config::builder();
    let mut problems = Vec::new();
    let file = file.map(|file| (file, File::from(file).format(FileFormat::Toml)));
    let options = (options, File::from(options).format(FileFormat::Json).required(false));
    for (path, file) in file.into_iter().chain([options]) {
        match file.collect() {
            Ok(_) => builder = builder.add_source(file),
            Err(error) => problems.push(unreadable(&error, path)),
        }
    }
    match builder.add_source(Environment(environment.clone())).build() {
        Ok(config) => (config.cache, problems),
        Err(error) => {
            problems.push(Problem::new("configuration", error.to_string()));
            (Value::new(None, Map::<String, Value>::new()), problems)
        }
    }
}

fn unreadable(error: &ConfigError, file: &Path) -> Problem {
    let message = match error {
        ConfigError::FileParse { cause, .. } => format!("cannot be read: {}", without_excerpt(&cause.to_string())),
        other => other.to_string(),
    };
    Problem { source: Some(file.display().to_string()), ..Problem::new("configuration", message) }
}

/// A parser shows the line that it stumbles over, and a secret may be on it: place and reason are enough.
fn without_excerpt(message: &str) -> String {
    let is_excerpt = |line: &&str| {
        line.split_once('|').is_some_and(|(number, _)| number.trim().parse::<u32>().is_ok() || number.trim().is_empty())
    };
    message.lines().filter(|line| !is_excerpt(line)).collect::<Vec<_>>().join(": ")
}

/// `S3_BACKUP_AGENT__LOCATIONS__0__BUCKET` sets `locations[0].bucket`.
#[derive(Debug, Clone)]
struct Environment(HashMap<String, String>);

impl Source for Environment {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let set = self.0.iter().filter_map(|(name, value)| {
            let path = name.strip_prefix(ENVIRONMENT_PREFIX)?;
            let origin = format!("environment variable {name}");
            Some((key_of(path), Value::new(Some(&origin), value.as_str())))
        });
        Ok(set.collect())
    }
}

fn key_of(path: &str) -> String {
    path.to_lowercase().split("__").fold(String::new(), |key, part| {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("{key}[{part}]")
        } else if key.is_empty() {
            part.to_owned()
        } else {
            format!("{key}.{part}")
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_variable_names_a_key() {
        assert_eq!(super::key_of("LOG__LEVEL"), "log.level");
        assert_eq!(super::key_of("LOCATIONS__0__ACCESS_KEY_ID"), "locations[0].access_key_id");
    }
}
