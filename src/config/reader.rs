//! Takes typed values out of the merged configuration and collects every problem instead of stopping at the first.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::str::FromStr;

use config::{Value, ValueKind};

use super::{Problem, Secret};
use crate::error::Reason;

/// Reads one table. A key that nobody asked for is a problem: it is a typing error more often than not.
pub(super) struct Reader<'e> {
    table: HashMap<String, Value>,
    path: String,
    /// None for what came over the protocol: it is taken as it is.
    environment: Option<&'e HashMap<String, String>>,
    asked: BTreeSet<String>,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(value: Value, environment: &'e HashMap<String, String>) -> Self {
        Self::at(String::new(), value, Some(environment))
    }

    /// Reads what somebody on the other side of the protocol wrote.
    pub(super) fn remote(value: Value) -> Self {
        Self::at(String::new(), value, None)
    }

    /// Whether the person who wrote this has access to this machine: files and variables are theirs to name.
    pub(super) fn is_local(&self) -> bool {
        self.environment.is_some()
    }

    fn at(path: String, value: Value, environment: Option<&'e HashMap<String, String>>) -> Self {
        let (table, asked, problems, notes) =
            (HashMap::new(), BTreeSet::new(), Vec::new(), Vec::new());
        let mut reader = Self {
            table,
            path,
            environment,
            asked,
            problems,
            notes,
        };
        let origin = value.origin().map(str::to_owned);
        match value.kind {
            ValueKind::Table(table) => reader.table = table.into_iter().collect(),
            _ => reader.problems.push(Problem {
                key: reader.path.clone(),
                source: origin,
                ..Problem::new("", "must be a section with keys of its own")
            }),
        }
        reader
    }

    /// All problems, those with unknown keys included, and what was put right without asking.
    pub(super) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        let unknown: BTreeSet<String> = self
            .table
            .keys()
            .filter(|key| !self.asked.contains(*key))
            .cloned()
            .collect();
        for key in unknown {
            self.problem(&key, "is not a known key");
        }
        (self.problems, self.notes)
    }

    pub(super) fn has_problem(&self, key: &str) -> bool {
        let key = self.key(key);
        self.problems.iter().any(|problem| problem.key == key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problem_with(key, None, message, None);
    }

    /// A problem that has a code of its own, or a value that would be right.
    pub(super) fn problem_with(
        &mut self,
        key: &str,
        reason: Option<Reason>,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        let source = self
            .table
            .get(key)
            .and_then(Value::origin)
            .map(str::to_owned);
        self.problems.push(Problem {
            source,
            reason,
            suggestion,
            ..Problem::new(self.key(key), message)
        });
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.asked.insert(key.to_owned());
        self.table
            .get(key)
            .filter(|value| !matches!(value.kind, ValueKind::Nil))
            .cloned()
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
        self.expanded(key, text)
    }

    /// A text with its variables replaced; nothing when it is empty.
    fn expanded(&mut self, key: &str, text: String) -> Option<String> {
        let expanded = match self.environment {
            Some(environment) => expand(&text, environment),
            None => Ok(text),
        };
        match expanded {
            Ok(text) => Some(self.trimmed(key, &text)).filter(|text| !text.is_empty()),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    fn trimmed(&mut self, key: &str, text: &str) -> String {
        let trimmed = text.trim();
        if trimmed.len() < text.len() && !trimmed.is_empty() {
            let note = Problem::new(
                self.key(key),
                "had spaces or line ends around it, which are left out",
            );
            self.notes.push(Problem {
                reason: Some(Reason::SpacesRemoved),
                ..note
            });
        }
        trimmed.to_owned()
    }

    /// An environment variable that `key` asks for.
    pub(super) fn variable(&mut self, key: &str, name: &str) -> Option<String> {
        if !self.is_local() {
            self.problem(
                key,
                "\"environment\" is for the agent's own configuration only",
            );
            return None;
        }
        let value = self.optional_variable(name);
        if value.is_none() {
            self.problem(
                key,
                format!("is \"environment\", but the variable {name} is not set"),
            );
        }
        value
    }

    pub(super) fn optional_variable(&self, name: &str) -> Option<String> {
        let value = self.environment?.get(name)?.trim();
        (!value.is_empty()).then(|| value.to_owned())
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
        let value = self.take(key).unwrap_or_else(|| {
            Value::new(None, ValueKind::Table(HashMap::new().into_iter().collect()))
        });
        let mut reader = Reader::at(self.key(key), value, self.environment);
        let result = read(&mut reader);
        let (problems, notes) = reader.finish();
        self.problems.extend(problems);
        self.notes.extend(notes);
        result
    }

    /// Reads a list of texts, or one text alone.
    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let ValueKind::Array(entries) = value.kind else {
            return self.text(key).map(|text| vec![text]);
        };
        let texts = entries
            .into_iter()
            .map(|entry| self.expanded(key, entry.to_string()));
        Some(texts.collect::<Vec<_>>().into_iter().flatten().collect())
    }

    /// Reads a list of sections; an entry with a problem is left out.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        read: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let ValueKind::Array(entries) = value.kind else {
            self.problem(key, "must be a list of sections");
            return Vec::new();
        };
        let mut result = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let mut reader = Reader::at(
                format!("{}[{index}]", self.key(key)),
                entry,
                self.environment,
            );
            let entry = read(&mut reader);
            let (problems, notes) = reader.finish();
            result.extend(entry.filter(|_| problems.is_empty()));
            self.problems.extend(problems);
            self.notes.extend(notes);
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
        let end = rest[start..]
            .find('}')
            .ok_or("has a \"${\" without its \"}\"")?;
        let name = &rest[start + 2..start + end];
        let value = environment
            .get(name)
            .ok_or_else(|| format!("names the environment variable {name}, which is not set"))?;
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
        assert!(
            expand("${B}", &environment)
                .unwrap_err()
                .contains("variable B, which is not set")
        );
        assert!(expand("${A", &environment).is_err());
    }
}
