//! Takes typed values out of the merged configuration and collects every problem instead of stopping at the first.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::str::FromStr;

use config::{Value, ValueKind};

use super::{Problem, Secret};

/// Reads one table. A key that nobody asked for is a problem: it is a typing error more often than not.
pub(super) struct Reader<'e> {
    table: HashMap<String, Value>,
    path: String,
    environment: &'e HashMap<String, String>,
    asked: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(value: Value, environment: &'e HashMap<String, String>) -> Self {
        Self::at(String::new(), value, environment)
    }

    fn at(path: String, value: Value, environment: &'e HashMap<String, String>) -> Self {
        let mut reader =
            Self { table: HashMap::new(), path, environment, asked: BTreeSet::new(), problems: Vec::new() };
        let origin = value.origin().map(str::to_owned);
        match value.kind {
            ValueKind::Table(table) => reader.table = table.into_iter().collect(),
            _ => reader.problems.push(Problem {
                key: reader.path.clone(),
                source: origin,
                message: "must be a section with keys of its own".into(),
            }),
        }
        reader
    }

    /// All problems, those with unknown keys included.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let unknown: BTreeSet<String> = self.table.keys().filter(|key| !self.asked.contains(*key)).cloned().collect();
        for key in unknown {
            self.problem(&key, "is not a known key");
        }
        self.problems
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let source = self.table.get(key).and_then(Value::origin).map(str::to_owned);
        self.problems.push(Problem { key: self.key(key), source, message: message.into() });
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.asked.insert(key.to_owned());
        self.table.get(key).filter(|value| !matches!(value.kind, ValueKind::Nil)).cloned()
    }

    /// A text with its `${VAR}` replaced. Spaces around it are not wanted anywhere: they come from pasting.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let value = self.take(key)?;
        let text = match value.kind {
            ValueKind::String(text) => text,
            ValueKind::Table(_) | ValueKind::Array(_) => {
                self.problem(key, "must be a text");
                return None;
            }
            other => other.to_string(),
        };
        match expand(&text, self.environment) {
            Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.text(key).map(Secret::new)
    }

    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, "true or false")
    }

    /// A value that is written as text, such as a number or a name out of a few; `wanted` completes "must be …".
    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, wanted: &str) -> Option<T> {
        let text = self.text(key)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.problem(key, format!("must be {wanted}, not \"{text}\""));
        }
        parsed
    }

    /// Reads a section, present or not.
    pub(super) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        let value =
            self.take(key).unwrap_or_else(|| Value::new(None, ValueKind::Table(HashMap::new().into_iter().collect())));
        let mut reader = Reader::at(self.key(key), value, self.environment);
        let result = read(&mut reader);
        self.problems.extend(reader.finish());
        result
    }

    /// Reads a list of sections; an entry that `read` gives up on has noted why.
    pub(super) fn list<T>(&mut self, key: &str, read: impl Fn(&mut Reader<'_>) -> Option<T>) -> Vec<T> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let ValueKind::Array(entries) = value.kind else {
            self.problem(key, "must be a list of sections");
            return Vec::new();
        };
        let mut result = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let mut reader = Reader::at(format!("{}[{index}]", self.key(key)), entry, self.environment);
            result.extend(read(&mut reader));
            self.problems.extend(reader.finish());
        }
        result
    }
}

/// Replaces each `${VAR}`; `$${` stands for a plain `${`.
fn expand(text: &str, environment: &HashMap<String, String>) -> Result<String, String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            result.push_str(&rest[..start]);
            result.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        let end = rest[start..].find('}').ok_or("has a \"${\" without its \"}\"")?;
        let name = &rest[start + 2..start + end];
        let value =
            environment.get(name).ok_or_else(|| format!("names the environment variable {name}, which is not set"))?;
        result.push_str(&rest[..start]);
        result.push_str(value);
        rest = &rest[start + end + 1..];
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_inside_values() {
        let environment = HashMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(expand("x${A}y${A}", &environment).unwrap(), "x1y1");
        assert_eq!(expand("$${A} $5", &environment).unwrap(), "${A} $5");
        assert!(expand("${B}", &environment).unwrap_err().contains("variable B, which is not set"));
        assert!(expand("${A", &environment).is_err());
    }
}
