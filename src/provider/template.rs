//! The template of an endpoint: a URL with fields in braces, such as `https://s3.{region}.example.com`.
//!
//! A small part of RFC 6570: `{name}` expands to a value, `{.name}` to a dot and a value, or to nothing.

use serde::{Deserialize, Serialize};
use url::Url;

/// A template. It matches host names, and ignores scheme, port and path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UrlTemplate {
    text: String,
    labels: Vec<Label>,
}

/// A label of the host name: text, and at most one field after it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Label {
    text: String,
    field: Option<String>,
    optional: bool,
}

/// A parsed host name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// The prefix before the template, with its dot: a bucket's name, or nothing.
    pub(super) before: String,
    values: Vec<(String, String)>,
}

impl Parts {
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Label {
    fn read(text: &str) -> Option<Self> {
        let (text, field) = match text.split_once('{') {
            Some((before, rest)) => (before, Some(rest.strip_suffix('}')?)),
            None => (text, None),
        };
        let optional = field.is_some_and(|field| field.starts_with('?'));
        let field = field.map(|field| field.trim_start_matches('?').to_owned());
        let is_plain = |text: &str, more: u8| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == more)
        };
        let names = field
            .as_deref()
            .is_none_or(|field| !field.is_empty() && is_plain(field, b'_'));
        let is_empty = text.is_empty() && field.is_none();
        (names && !is_empty && is_plain(text, b'-')).then(|| Self {
            text: text.to_owned(),
            field,
            optional,
        })
    }

    /// Returns the field's value in a label of a host name; empty without a field.
    fn value<'h>(&self, part: &'h str, fits: &impl Fn(&str, &str) -> bool) -> Option<&'h str> {
        let rest = part.strip_prefix(&self.text)?;
        match &self.field {
            Some(name) => fits(name, rest).then_some(rest),
            None => rest.is_empty().then_some(rest),
        }
    }
}

impl UrlTemplate {
    /// Names of the fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.labels
            .iter()
            .filter_map(|label| label.field.as_deref())
    }

    /// Builds the URL from the fields' values.
    ///
    /// # Errors
    /// The names of fields whose values are missing or invalid.
    pub(super) fn expand(
        &self,
        value: impl Fn(&str) -> Option<String>,
        fits: impl Fn(&str, &str) -> bool,
    ) -> Result<Url, Vec<String>> {
        let mut wrong = Vec::new();
        let mut host = Vec::new();
        for label in &self.labels {
            let Some(name) = &label.field else {
                host.push(label.text.clone());
                continue;
            };
            match value(name) {
                Some(value) if fits(name, &value) => host.push(format!("{}{value}", label.text)),
                None if label.optional => {}
                _ => wrong.push(name.clone()),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Url::parse(&format!("https://{}", host.join(".")))
            .map_err(|_| self.fields().map(str::to_owned).collect())
    }

    /// Parses a host name of this template, which may start with a bucket's name.
    pub(super) fn parse(&self, host: &str, fits: impl Fn(&str, &str) -> bool) -> Option<Parts> {
        let host: Vec<&str> = host.split('.').collect();
        parse(&self.labels, &host, &fits)
    }
}

/// Matches from the end, because the prefix before the template is unknown.
fn parse(labels: &[Label], host: &[&str], fits: &impl Fn(&str, &str) -> bool) -> Option<Parts> {
    let Some((label, labels)) = labels.split_last() else {
        let before = host.iter().flat_map(|part| [part, "."]).collect();
        return Some(Parts {
            before,
            values: Vec::new(),
        });
    };
    let with = host.split_last().and_then(|(part, host)| {
        let value = label.value(part, fits)?;
        let mut parts = parse(labels, host, fits)?;
        parts.values.extend(
            label
                .field
                .iter()
                .map(|name| (name.clone(), value.to_owned())),
        );
        Some(parts)
    });
    if label.optional {
        with.or_else(|| parse(labels, host, fits))
    } else {
        with
    }
}

impl TryFrom<String> for UrlTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let host = text
            .strip_prefix("https://")
            .map(|host| host.replace("{.", ".{?"));
        let labels = host.and_then(|host| host.split('.').map(Label::read).collect());
        let labels =
            labels.ok_or_else(|| format!("\"{text}\" is not the template of an endpoint"))?;
        Ok(Self { text, labels })
    }
}

impl From<UrlTemplate> for String {
    fn from(template: UrlTemplate) -> Self {
        template.text
    }
}

impl std::fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> UrlTemplate {
        UrlTemplate::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn invalid_template_is_rejected() {
        for text in [
            "",
            "https://",
            "s3.{region}.x",
            "http://x",
            "https://a.{b",
            "https://a.b}",
            "https://a..b",
        ] {
            assert!(UrlTemplate::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in [
            "https://{}.x",
            "https://{a}{b}.x",
            "https://{a}b.x",
            "https://x/y",
            "https://x:1",
            "https://{a b}.x",
        ] {
            assert!(UrlTemplate::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn optional_field_may_be_absent() {
        let template = template("https://{a}{.b}.example.com");
        let fits = |name: &str, text: &str| name == "a" || text == "eu";
        let fill = |b: Option<&str>| {
            template.expand(
                |name| {
                    if name == "a" {
                        Some("x".into())
                    } else {
                        b.map(Into::into)
                    }
                },
                fits,
            )
        };
        assert_eq!(fill(None).unwrap().as_str(), "https://x.example.com/");
        assert_eq!(
            fill(Some("eu")).unwrap().as_str(),
            "https://x.eu.example.com/"
        );
        assert_eq!(fill(Some("us")).unwrap_err(), ["b"]);
        let parts = |host: &str| template.parse(host, fits).unwrap();
        assert_eq!(
            (
                parts("x.eu.example.com").value("a"),
                parts("x.eu.example.com").value("b")
            ),
            (Some("x"), Some("eu"))
        );
        assert_eq!(
            (
                parts("x.example.com").value("a"),
                parts("x.example.com").value("b")
            ),
            (Some("x"), None)
        );
        let with_bucket = parts("my.bucket.x.example.com");
        assert_eq!(
            (with_bucket.before.as_str(), with_bucket.value("a")),
            ("my.bucket.", Some("x"))
        );
        assert_eq!(template.parse("example.com", fits), None);
    }
}
