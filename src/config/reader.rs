//! Reads typed values out of the merged configuration, and collects every problem instead of stopping at the first.
//!
//! A setting's row in [`super::settings`] drives the reading: type, bounds, default and error texts.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use config::{Value, ValueKind};

use super::layers::Environment;
use super::problem::{Problem, unknown_key};
use super::secret::Secret;
use super::settings::{GENERAL, LOCATION, PLAIN, Setting, SettingKind};
use crate::error::Reason;
use crate::similar::{distance, slips};

/// Reads one table. A key that was never read is a problem: usually a typing error.
pub(super) struct Reader<'e> {
    settings: &'static [Setting],
    table: HashMap<String, Value>,
    path: String,
    /// None for settings that arrive over the protocol: variables in them stay as they are.
    environment: Option<&'e Environment>,
    read: BTreeSet<String>,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(value: Value, environment: &'e Environment) -> Self {
        Self::at(GENERAL, String::new(), value, Some(environment))
    }

    /// Reads a location that arrives over the protocol.
    pub(super) fn remote(value: Value) -> Self {
        Self::at(LOCATION, String::new(), value, None)
    }

    /// Whether the author has access to this machine: then files and variables may be named.
    pub(super) fn is_local(&self) -> bool {
        self.environment.is_some()
    }

    fn at(
        settings: &'static [Setting],
        path: String,
        value: Value,
        environment: Option<&'e Environment>,
    ) -> Self {
        let mut reader = Self {
            settings,
            table: HashMap::new(),
            path,
            environment,
            read: BTreeSet::new(),
            problems: Vec::new(),
            notes: Vec::new(),
        };
        let source = value.origin().map(str::to_owned);
        match value.kind {
            ValueKind::Table(table) => reader.table.extend(table),
            _ => reader.problems.push(Problem {
                source,
                ..Problem::new(
                    reader.path.as_str(),
                    "must be a section with keys of its own",
                )
            }),
        }
        reader
    }

    /// Problems, unknown keys included, and notes on what the reader corrected.
    pub(super) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        // A form keeps emptied options, such as those of another provider.
        let set = (self.table.iter()).filter(
            |(_, value)| !matches!(&value.kind, ValueKind::String(text) if text.is_empty()),
        );
        let keys: BTreeSet<String> = set.map(|(key, _)| key.clone()).collect();
        for key in keys.difference(&self.read.clone()) {
            let meant = self.nearest(key);
            let message = unknown_key(key, meant.as_deref());
            // A key that may mean the encryption or the folder is no detail.
            let is_detail = |meant: &String| self.setting(meant).has_fallback;
            let has_fallback = meant.as_ref().is_some_and(is_detail);
            let problem = self.problem(key, message);
            let problem = match meant {
                Some(meant) => problem.of_kind("misspelt_setting", [("meant", meant)]),
                None => problem.of_kind("unknown_setting", []),
            };
            problem.has_fallback = has_fallback;
        }
        (self.problems, self.notes)
    }

    /// The known key that a misspelt one most likely means.
    fn nearest(&self, key: &str) -> Option<String> {
        let letters = |key: &str| key.to_lowercase().replace(['_', '-'], "");
        let (wanted, names) = (letters(key), self.settings.iter().map(|row| row.name));
        let known = names.chain(self.read.iter().map(String::as_str));
        let close = |known: &&str| distance(&wanted, &letters(known));
        let meant = known.filter(|known| close(known) <= slips(&wanted));
        meant.min_by_key(close).map(str::to_owned)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The text of a setting as it is written, for an error about another one.
    pub(super) fn peek(&self, key: &str) -> Option<String> {
        let value = self.table.get(key)?;
        value.clone().into_string().ok()
    }

    /// Adds a problem; callers may add its reason and a suggestion.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) -> &mut Problem {
        let source = self.table.get(key).and_then(Value::origin);
        let problem = Problem {
            source: source.map(str::to_owned),
            has_fallback: self.setting(key).has_fallback,
            ..Problem::new(self.key(key), message)
        };
        self.problems.push_mut(problem)
    }

    /// A text that is no value of the setting's kind.
    pub(super) fn refuse(&mut self, key: &str, text: &str) {
        let kind = self.setting(key).kind;
        let port = text.rsplit_once(':').map_or("", |(_, port)| port);
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if kind == SettingKind::Address && is_number && port.parse::<u16>().is_err() {
            let message = format!("has the port {port}, and the highest is 65535");
            self.problem(key, message).of_kind("bad_port", []);
            return;
        }
        let wanted = kind.wanted();
        let (code, placeholders) = kind.wants();
        self.problem(key, format!("must be {wanted}, not \"{text}\""))
            .of_kind(code, placeholders);
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn setting(&self, key: &str) -> Setting {
        let row = self.settings.iter().find(|setting| setting.name == key);
        // A provider's own field has no row.
        row.copied().unwrap_or(PLAIN)
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.read.insert(key.to_owned());
        let value = self.table.get(key);
        value
            .filter(|value| !matches!(value.kind, ValueKind::Nil))
            .cloned()
    }

    /// The text of a setting, or its default.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let setting = self.setting(key);
        let problems = self.problems.len();
        let text = self.written(key);
        if text.is_none() && setting.is_required && self.problems.len() == problems {
            self.problem(key, "is missing").of_kind("missing", []);
        }
        text.filter(|text| self.accepts(key, setting.kind, text))
            .or_else(|| setting.default_text().map(str::to_owned))
    }

    /// The text that a file or a variable gives a setting, `${VAR}` expanded. Trims it: spaces come from pasting.
    pub(super) fn written(&mut self, key: &str) -> Option<String> {
        let text = match self.take(key)?.kind {
            ValueKind::String(text) => text,
            ValueKind::Table(_) | ValueKind::Array(_) => {
                self.problem(key, "must be a text")
                    .of_kind("not_a_text", []);
                return None;
            }
            other => other.to_string(),
        };
        self.expanded(key, text)
    }

    fn accepts(&mut self, key: &str, kind: SettingKind, text: &str) -> bool {
        match kind {
            SettingKind::Word if !is_word(text) => {
                let message = "holds a space or a character that is not ASCII: copy it from the provider again";
                self.problem(key, message).reason = Some(Reason::StrangeCharacter);
                false
            }
            SettingKind::Choice(choices) if !choices.contains(&text) => {
                self.refuse(key, text);
                false
            }
            _ => true,
        }
    }

    /// A text with its variables expanded; `None` if it is empty.
    fn expanded(&mut self, key: &str, text: String) -> Option<String> {
        let expanded = match self.environment {
            Some(environment) => expand(&text, environment),
            None => Ok(text),
        };
        match expanded {
            Ok(text) => Some(self.trimmed(key, &text)).filter(|text| !text.is_empty()),
            Err(message) => {
                self.problem(key, message).of_kind("bad_variable", []);
                None
            }
        }
    }

    fn trimmed(&mut self, key: &str, text: &str) -> String {
        let trimmed = text.trim();
        if trimmed.len() < text.len() && !trimmed.is_empty() {
            self.notes.push(Problem {
                reason: Some(Reason::SpacesRemoved),
                ..Problem::new(
                    self.key(key),
                    "had spaces or line breaks around it, which were removed",
                )
            });
        }
        trimmed.to_owned()
    }

    /// An environment variable that `credentials` refers to.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let value = self.environment?.get(name)?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.text(key).map(Secret::new)
    }

    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// The number of a setting, or its default; in bytes or seconds where it has a unit.
    pub(super) fn number(&mut self, key: &str) -> Option<u64> {
        let SettingKind::Number(number) = self.setting(key).kind else {
            return None;
        };
        self.value(key, |text| number.parse(text).ok()).flatten()
    }

    /// A number that counts things in memory.
    pub(super) fn count(&mut self, key: &str) -> Option<usize> {
        self.number(key)
            .map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    pub(super) fn duration(&mut self, key: &str) -> Option<Duration> {
        self.number(key).map(Duration::from_secs)
    }

    /// A setting whose values a type of its own parses, or its default.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &str) -> Option<T> {
        self.value(key, |text| text.parse().ok())
    }

    fn value<T>(&mut self, key: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let written = self.written(key).and_then(|text| {
            let value = parse(&text);
            if value.is_none() {
                self.refuse(key, &text);
            }
            value
        });
        written.or_else(|| self.setting(key).default_text().and_then(parse))
    }

    /// Reads a section, whether it is there or not.
    pub(super) fn section<T>(
        &mut self,
        key: &str,
        settings: &'static [Setting],
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> T {
        let value = self.take(key).unwrap_or_else(empty_table);
        let mut reader = Reader::at(settings, self.key(key), value, self.environment);
        let result = read(&mut reader);
        self.absorb(reader);
        result
    }

    /// Takes over what a reader of a part found; returns whether the part can be used.
    fn absorb(&mut self, part: Reader<'_>) -> bool {
        let (problems, notes) = part.finish();
        let is_fine = problems.iter().all(|problem| problem.has_fallback);
        self.problems.extend(problems);
        self.notes.extend(notes);
        is_fine
    }

    /// Reads a list of texts, or one text alone.
    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let ValueKind::Array(entries) = value.kind else {
            return self.text(key).map(|text| vec![text]);
        };
        let texts = entries
            .into_iter()
            .filter_map(|entry| self.expanded(key, entry.to_string()));
        Some(texts.collect())
    }

    /// Reads a list of sections; skips an entry with a problem that no default mends.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        settings: &'static [Setting],
        read: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let ValueKind::Array(entries) = value.kind else {
            let message = format!("must be a list: write [[{key}]] with two brackets on each side");
            self.problem(key, message).of_kind("not_a_list", []);
            return Vec::new();
        };
        let mut result = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let path = format!("{}[{index}]", self.key(key));
            let mut reader = Reader::at(settings, path, entry, self.environment);
            let entry = read(&mut reader);
            let is_fine = self.absorb(reader);
            result.extend(entry.filter(|_| is_fine));
        }
        result
    }
}

/// A table without keys: every setting has its default.
pub(super) fn empty_table() -> Value {
    Value::new(None, ValueKind::Table(config::Map::new()))
}

/// Whether a text can travel in request headers and URLs as it is.
pub(super) fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Replaces each `${VAR}`; `$${` stands for a plain `${`.
fn expand(text: &str, environment: &Environment) -> Result<String, String> {
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
    fn variables_are_expanded_inside_values() {
        let environment = HashMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(expand("x${A}y${A}", &environment).unwrap(), "x1y1");
        assert_eq!(expand("$${A} $5", &environment).unwrap(), "${A} $5");
        let error = expand("${B}", &environment).unwrap_err();
        assert!(error.contains("variable B, which is not set"));
        assert!(expand("${A", &environment).is_err());
    }
}
