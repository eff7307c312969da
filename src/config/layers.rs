//! The sources of the configuration, later wins: file, the app's options, environment.

use std::collections::HashMap;
use std::path::Path;

use config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use super::problem::Problem;

/// Environment variables.
pub(crate) type Environment = HashMap<String, String>;

/// Where Supervisor puts the options from the app's configuration page.
pub const APP_OPTIONS: &str = "/data/options.json";

/// Names another file in its place.
pub const APP_OPTIONS_VARIABLE: &str = "S3_BACKUP_AGENT_OPTIONS";

/// Prefix of an environment variable for the agent, as in `S3_BACKUP_AGENT__LOG__LEVEL`.
pub const ENVIRONMENT_PREFIX: &str = "S3_BACKUP_AGENT__";

/// The largest file that is read; a hundred locations take some 50 KiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The largest list that variables can create: an entry with a high index creates all before it.
const MAX_ENTRIES: usize = 100;

/// Merges the layers. Each value keeps its source; an unreadable file is a problem, and skipped.
pub(super) fn merged(
    file: Option<&Path>,
    options: &Path,
    environment: &Environment,
) -> (Value, Vec<Problem>) {
    let mut builder = config::Config::builder();
    let mut problems = Vec::new();
    let file = file.map(|file| (file, File::from(file).format(FileFormat::Toml)));
    // A missing file is no problem, an unreadable one is.
    let is_there = options.try_exists().unwrap_or(true);
    let options = (
        options,
        File::from(options)
            .format(FileFormat::Json)
            .required(is_there),
    );
    for (path, file) in file.into_iter().chain([options]) {
        if path.is_dir() {
            let message = "is a folder: name the file in it, such as agent.toml";
            problems.push(Problem::of_file(path, "configuration", message));
            continue;
        }
        if path
            .metadata()
            .is_ok_and(|metadata| metadata.len() > MAX_FILE_BYTES)
        {
            let message = format!(
                "is larger than {} KiB, too large for a configuration",
                MAX_FILE_BYTES / 1024
            );
            problems.push(Problem::of_file(path, "configuration", message));
            continue;
        }
        // A pipe can be read only once.
        let text = path.is_file().then(|| std::fs::read(path).ok()).flatten();
        let text = text.unwrap_or_default();
        if let Some(message) = strange_byte(&text) {
            problems.push(Problem::of_file(path, "configuration", message));
            continue;
        }
        match file.collect() {
            Ok(mut values) => {
                let unknown = values.extract_if(|key, _| !is_name(key));
                problems.extend(
                    unknown.map(|(key, _)| Problem::of_file(path, &key, "is not a known key")),
                );
                let origin = path.display().to_string();
                let values = values.into_iter();
                let values = values.map(|(key, value)| (key, value_of(&origin, value)));
                builder = builder.add_source(Values(values.collect()));
            }
            Err(error) => {
                let message = strange_quote(&text).unwrap_or_else(|| unreadable(&error));
                problems.push(Problem::of_file(path, "configuration", message));
            }
        }
    }
    let variables = variables(environment);
    match variables.and_then(|variables| builder.add_source(Values(variables)).build()) {
        Ok(config) => (config.cache, problems),
        Err(error) => {
            problems.push(Problem::new("configuration", error.to_string()));
            (Value::new(None, Map::<String, Value>::new()), problems)
        }
    }
}

/// The value with its file's path as its origin: `config` names the file relative to the working directory.
fn value_of(origin: &String, value: Value) -> Value {
    let kind = match value.kind {
        ValueKind::Table(table) => ValueKind::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, value_of(origin, value)))
                .collect(),
        ),
        ValueKind::Array(values) => ValueKind::Array(
            values
                .into_iter()
                .map(|value| value_of(origin, value))
                .collect(),
        ),
        kind => kind,
    };
    Value::new(Some(origin), kind)
}

/// Whether a key is a name and not a path: `config` would create all entries of `a[4000000000]`.
fn is_name(key: &str) -> bool {
    key.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The values of a source.
#[derive(Debug, Clone)]
struct Values(Map<String, Value>);

impl Source for Values {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// Names the first byte of a file that is not UTF-8, and its line. `config` would replace it, in a password too.
fn strange_byte(text: &[u8]) -> Option<String> {
    let valid = std::str::from_utf8(text).err()?.valid_up_to();
    let byte = text.get(valid)?;
    let line = text[..valid].split(|byte| *byte == b'\n').count();
    Some(format!(
        "is not UTF-8: line {line} has the byte 0x{byte:02X}. Save the file with the encoding UTF-8: your editor asks for it under \"Save as\""
    ))
}

/// Names the first value of a broken file in quotation marks that a word processor or a web page puts there, and its line.
fn strange_quote(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let quote_of = |line: &str| {
        let (_, value) = line.split_once('=')?;
        let first = value.trim_start().chars().next()?;
        "“”„‟«»‘’‚‛`´″".contains(first).then_some(first)
    };
    let mut lines = text.lines().enumerate();
    let (index, quote) = lines.find_map(|(at, line)| Some((at, quote_of(line)?)))?;
    let line = index + 1;
    Some(format!(
        "cannot be read: line {line} has the quotation mark {quote} around its value. Write straight ones, as in key = \"value\""
    ))
}

fn unreadable(error: &ConfigError) -> String {
    match error {
        ConfigError::FileParse { cause, .. } => {
            format!("cannot be read: {}", without_excerpt(&cause.to_string()))
        }
        ConfigError::Foreign(cause) => format!("cannot be read: {cause}"),
        other => other.to_string(),
    }
}

/// Removes the excerpt from a parser's message: the line may hold a secret. Position and cause are enough.
fn without_excerpt(message: &str) -> String {
    let is_excerpt = |line: &&str| {
        line.split_once('|').is_some_and(|(number, _)| {
            number.trim().parse::<u32>().is_ok() || number.trim().is_empty()
        })
    };
    message
        .lines()
        .filter(|line| !is_excerpt(line))
        .collect::<Vec<_>>()
        .join(": ")
}

/// `S3_BACKUP_AGENT__LOCATIONS__0__BUCKET` sets `locations[0].bucket`.
fn variables(environment: &Environment) -> Result<Map<String, Value>, ConfigError> {
    let set = environment.iter().filter_map(|(name, value)| {
        let path = name.strip_prefix(ENVIRONMENT_PREFIX)?;
        let origin = format!("environment variable {name}");
        let value = Value::new(Some(&origin), value.as_str());
        Some(
            key_of(path)
                .map(|key| (key, value))
                .ok_or_else(|| too_many(name)),
        )
    });
    set.collect()
}

fn too_many(name: &str) -> ConfigError {
    ConfigError::Message(format!(
        "environment variable {name}: a list has {MAX_ENTRIES} entries at most, counted from 0"
    ))
}

/// `None` for an index beyond the limit.
fn key_of(path: &str) -> Option<String> {
    let mut key = String::new();
    for part in path.to_lowercase().split("__") {
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            let dot = if key.is_empty() { "" } else { "." };
            key.extend([dot, part]);
        } else {
            let index = part
                .parse::<usize>()
                .ok()
                .filter(|index| *index < MAX_ENTRIES)?;
            key.extend(["[", &index.to_string(), "]"]);
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn variable_names_a_key() {
        assert_eq!(key_of("LOG__LEVEL").unwrap(), "log.level");
        assert_eq!(
            key_of("LOCATIONS__0__ACCESS_KEY_ID").unwrap(),
            "locations[0].access_key_id"
        );
    }

    #[test]
    fn variable_cannot_create_a_huge_list() {
        for index in ["100", "4000000000", "99999999999999999999999"] {
            let name = format!("S3_BACKUP_AGENT__LOCATIONS__{index}__BUCKET");
            let environment = HashMap::from([(name.clone(), "b".to_owned())]);
            let (_, problems) = merged(None, Path::new("/nowhere"), &environment);
            assert!(problems[0].to_string().contains(&name), "{problems:?}");
        }
    }

    #[test]
    fn key_with_a_path_is_unknown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            r#"{"state_dir": "/x", "a[190307541044377573].b": 0, "log.level": "x"}"#,
        )
        .unwrap();
        let (value, problems) = merged(None, file.path(), &HashMap::new());
        let mut said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        said.sort();
        assert!(
            said.len() == 2
                && said[0].contains("a[190307541044377573].b")
                && said[1].contains("is not a known key")
        );
        assert_eq!(
            value.into_table().unwrap().into_keys().collect::<Vec<_>>(),
            ["state_dir"]
        );
    }

    #[test]
    fn value_names_its_file_by_the_whole_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"locations": [{"bucket": 7}]}"#).unwrap();
        let (value, _) = merged(None, file.path(), &HashMap::new());
        let [location] = &value.into_table().unwrap()["locations"]
            .clone()
            .into_array()
            .unwrap()[..]
        else {
            panic!("not one location")
        };
        let bucket = &location.clone().into_table().unwrap()["bucket"];
        assert_eq!(bucket.origin(), file.path().to_str());
    }

    #[test]
    fn file_that_is_no_text_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, b"state_dir = \"/x\"\n# f\xfcr uns\n").unwrap();
        for (path, expected) in [
            (file.as_path(), "is not UTF-8: line 2 has the byte 0xFC"),
            (folder.path(), "is a folder: name the file in it"),
        ] {
            let (_, problems) = merged(Some(path), Path::new("/nowhere"), &HashMap::new());
            assert!(problems[0].to_string().contains(expected), "{problems:?}");
        }
        let (_, problems) = merged(None, folder.path(), &HashMap::new());
        assert!(problems[0].to_string().contains("is a folder"));
    }

    #[test]
    fn huge_file_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        for (toml, json) in [
            (Some(file.path()), Path::new("/nowhere")),
            (None, file.path()),
        ] {
            let (_, problems) = merged(toml, json, &HashMap::new());
            assert!(
                problems[0].to_string().contains("larger than 1024 KiB"),
                "{problems:?}"
            );
        }
    }
}
