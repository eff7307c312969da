//! The one scrubber of secrets: for log records, panics, errors, events, diagnostics and the page.
//!
//! Every [`Secret`](crate::config::Secret) registers itself here when it is created, and is forgotten when its last copy
//! is dropped. The scrubber searches for the secret itself and for its forms in URLs, JSON and Rust's `Debug`.
//!
//! A weak secret, such as `wrong`, is also one of the agent's own words, and replacing those would reveal it. So it is replaced
//! in values from outside, by [`scrub_value`], and in the agent's own texts only where they quote such a value, by [`scrub`].

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::RwLock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;
use zeroize::Zeroizing;

/// Minimum length of a secret: a shorter text is part of too many words, and no key is that short.
const MIN_BYTES: usize = 4;

/// Minimum length of a secret that no text contains by chance.
pub const STRONG_BYTES: usize = 8;

/// Longest single word or number that a text may contain by chance.
const LONGEST_WORD: usize = 20;

/// Characters that RFC 3986 leaves unreserved stay unencoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Replacement for a secret.
pub const HIDDEN: &str = "***";

/// Registered forms, longest first, so that a secret that contains another one is replaced as a whole.
static KNOWN: RwLock<Vec<Form>> = RwLock::new(Vec::new());

struct Form {
    text: Zeroizing<String>,
    is_weak: bool,
    secret: Weak<Hidden>,
}

/// The text of a secret, which registers its forms as long as it exists.
#[derive(PartialEq, Eq)]
pub struct Hidden(Zeroizing<String>);

impl Hidden {
    /// Registers a secret until its last copy is dropped.
    pub fn new(text: impl Into<String>) -> Arc<Self> {
        let secret = Arc::new(Self(Zeroizing::new(text.into())));
        hide(&secret);
        secret
    }

    /// The text itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Its forms are copies, and would replace words of later texts.
        KNOWN.write().retain(Form::is_alive);
    }
}

impl Form {
    fn is_alive(&self) -> bool {
        self.secret.strong_count() > 0
    }

    /// Whether it is replaced between these characters of a text.
    fn is_hidden(&self, is_value: bool, before: &str, after: &str) -> bool {
        let (last, next) = (before.chars().next_back(), after.chars().next());
        let is_boundary = |beside: Option<char>| !beside.is_some_and(char::is_alphanumeric);
        if !self.is_weak {
            return true;
        }
        if is_value {
            return is_boundary(last) && is_boundary(next);
        }
        // A field's value, as in `state="complete"`, is mostly one of the agent's own words.
        last == Some('"') && matches!(next, Some('"' | '\\')) && !before.ends_with("=\"")
    }

    fn hide(&self, text: &str, is_value: bool) -> Option<String> {
        let mut hidden = String::new();
        let mut rest = 0;
        for (start, found) in text.match_indices(&**self.text) {
            let end = start + found.len();
            if self.is_hidden(is_value, &text[..start], &text[end..]) {
                hidden.push_str(&text[rest..start]);
                hidden.push_str(HIDDEN);
                rest = end;
            }
        }
        (rest > 0).then(|| hidden + &text[rest..])
    }
}

fn hide(secret: &Arc<Hidden>) {
    let forms = forms(secret.text());
    if forms.is_empty() {
        return;
    }
    let mut known = KNOWN.write();
    known.extend(forms.into_iter().map(|text| Form {
        is_weak: is_weak(&text),
        text,
        secret: Arc::downgrade(secret),
    }));
    known.sort_by_key(|form| std::cmp::Reverse(form.text.len()));
}

/// Replaces secrets in a text of the agent, which may quote values from outside.
#[must_use]
pub fn scrub(text: &str) -> Cow<'_, str> {
    replace(text, false)
}

/// Replaces secrets in a value from outside, such as a provider's message or the name of a backup.
#[must_use]
pub fn scrub_value(text: &str) -> Cow<'_, str> {
    replace(text, true)
}

fn replace(text: &str, is_value: bool) -> Cow<'_, str> {
    let mut scrubbed = Cow::Borrowed(text);
    // A dropped secret waits for the lock to remove its forms.
    for form in KNOWN.read().iter().filter(|form| form.is_alive()) {
        if let Some(hidden) = form.hide(&scrubbed, is_value) {
            scrubbed = Cow::Owned(hidden);
        }
    }
    scrubbed
}

/// Whether a text of the agent may contain this secret by chance.
#[must_use]
pub fn is_weak(secret: &str) -> bool {
    let is_word = |part: u8| part.is_ascii_alphabetic() || part == b'_';
    let is_one_word =
        secret.bytes().all(is_word) || secret.bytes().all(|digit| digit.is_ascii_digit());
    secret.len() < STRONG_BYTES || (secret.len() <= LONGEST_WORD && is_one_word)
}

/// Replaces secrets in a value from outside, and `id`, which is no secret elsewhere; an empty one stands for none.
pub fn scrub_with(text: &mut String, id: &str) {
    if !id.is_empty() && text.contains(id) {
        *text = text.replace(id, HIDDEN);
    }
    if let Cow::Owned(scrubbed) = scrub_value(text) {
        *text = scrubbed;
    }
}

/// Cuts the credentials from a text that may be a URL, so that a message can repeat it.
#[must_use]
pub fn without_credentials(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// Fields of a JSON document whose texts come from outside.
const VALUES: [&str; 4] = ["name", "endpoint", "bucket", "prefix"];

/// Replaces secrets in every text of a JSON value.
pub fn scrub_json(value: &mut serde_json::Value) {
    scrub_field("", value);
}

fn scrub_field(name: &str, value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            if let Cow::Owned(scrubbed) = replace(text, VALUES.contains(&name)) {
                *text = scrubbed;
            }
        }
        serde_json::Value::Array(values) => {
            for value in values {
                scrub_field(name, value);
            }
        }
        serde_json::Value::Object(values) => {
            for (name, value) in values {
                scrub_field(name, value);
            }
        }
        _ => {}
    }
}

/// Returns all forms a secret may have in a text.
fn forms(secret: &str) -> Vec<Zeroizing<String>> {
    let schemes = ["http://", "https://", "socks5://", "socks5h://"];
    let is_address = schemes.iter().any(|scheme| secret.starts_with(scheme));
    let plain = match Url::parse(secret).ok().filter(|_| is_address) {
        Some(url) => credentials(&url),
        None => vec![Zeroizing::new(secret.to_owned())],
    };
    let mut forms: Vec<_> = plain
        .iter()
        .filter(|text| text.len() >= MIN_BYTES)
        .flat_map(|text| written(text))
        .collect();
    forms.sort_by(|one, other| one.as_str().cmp(other));
    forms.dedup();
    forms
}

/// Returns the credentials in a URL. The URL itself stays: error messages need it.
fn credentials(url: &Url) -> Vec<Zeroizing<String>> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let forms = match (url.username(), url.password()) {
        ("", None) => Vec::new(),
        // Some services accept a token as the user name.
        (name, None) => vec![name.to_owned(), decoded(name)],
        (name, Some(password)) => {
            let pair = format!("{}:{}", decoded(name), decoded(password));
            vec![
                password.to_owned(),
                decoded(password),
                BASE64.encode(&pair),
                format!("{name}:{password}"),
                pair,
            ]
        }
    };
    forms.into_iter().map(Zeroizing::new).collect()
}

fn written(text: &str) -> [Zeroizing<String>; 4] {
    let json = Zeroizing::new(serde_json::to_string(text).unwrap_or_default());
    let json = json
        .strip_prefix('"')
        .and_then(|json| json.strip_suffix('"'));
    [
        text.to_owned(),
        utf8_percent_encode(text, ENCODED).to_string(),
        text.escape_debug().to_string(),
        json.unwrap_or_default().to_owned(),
    ]
    .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(secret: &str) -> Arc<Hidden> {
        Hidden::new(secret)
    }

    #[test]
    fn secret_is_replaced_in_every_form() {
        let _kept = hidden("sEcr/et+\"key\"=");
        for text in [
            "a sEcr/et+\"key\"= b",
            "a sEcr%2Fet%2B%22key%22%3D b",
            &format!("a {} b", "sEcr/et+\"key\"=".escape_debug()),
        ] {
            assert_eq!(scrub(text), "a *** b");
        }
        let mut json = serde_json::json!({"a": ["sEcr/et+\"key\"="], "b": 5});
        scrub_json(&mut json);
        assert_eq!(json, serde_json::json!({"a": ["***"], "b": 5}));
    }

    #[test]
    fn only_the_credentials_of_a_url_are_replaced() {
        let _proxy = hidden("http://home:pass%20w0rd@proxy.example.com:3128/");
        let text = format!(
            "http://home:pass%20w0rd@proxy.example.com pass w0rd Basic {}",
            BASE64.encode("home:pass w0rd")
        );
        assert_eq!(scrub(&text), "http://***@proxy.example.com *** Basic ***");
        let _open = hidden("http://proxy.example.org:3128/");
        assert_eq!(
            scrub("http://proxy.example.org:3128/"),
            "http://proxy.example.org:3128/"
        );
    }

    #[test]
    fn longer_of_two_secrets_with_the_same_start_is_replaced_whole() {
        let _both = (
            hidden("alike-and-alike"),
            hidden("alike-and-alike-but-longer"),
        );
        assert_eq!(
            scrub("alike-and-alike-but-longer alike-and-alike"),
            "*** ***"
        );
    }

    #[test]
    fn secret_is_forgotten_when_its_last_copy_is_dropped() {
        let is_known = |text: &str| KNOWN.read().iter().any(|form| *form.text == text);
        let secret = hidden("2031-07-");
        let copy = Arc::clone(&secret);
        drop(secret);
        assert_eq!(scrub("on 2031-07-30"), "on ***30");
        drop(copy);
        assert_eq!(scrub("on 2031-07-30"), "on 2031-07-30");
        assert!(!is_known("2031-07-"), "a copy stays in memory");
        let _short = hidden("abc");
        assert_eq!(scrub("abc"), "abc");
    }

    #[test]
    fn weak_secret_is_replaced_in_values_and_not_in_words_of_the_agent() {
        let _all = [
            "wrong",
            "location",
            "wrong_region",
            "20261130",
            "minioadmin",
        ]
        .map(hidden);
        for own in [
            "The bucket is in the wrong region.",
            "2026-11-30 checked location=garage code=\"wrong_region\" size_bytes=20261130",
            "/v1/locations/garage",
        ] {
            assert_eq!(scrub(own), own);
        }
        for (own, scrubbed) in [
            (
                "There is no location \"wrong\".",
                "There is no location \"***\".",
            ),
            ("no location \\\"wrong\\\".", "no location \\\"***\\\"."),
        ] {
            assert_eq!(scrub(own), scrubbed);
        }
        for (value, scrubbed) in [
            (
                "The key wrong is not location's.",
                "The key *** is not ***'s.",
            ),
            ("wrong,wrongly,wrong", "***,wrongly,***"),
            ("signed with minioadmin:minioadmin", "signed with ***:***"),
            ("20261130", "***"),
        ] {
            assert_eq!(scrub_value(value), scrubbed);
        }
    }

    #[test]
    fn only_a_secret_that_no_text_contains_by_chance_is_strong() {
        for weak in ["", "abc", "a/b+c=7", "location", "wrong_region", "12345678"] {
            assert!(is_weak(weak), "{weak}");
        }
        for strong in [
            "a/b+c=78",
            "minio123",
            "correct-horse-battery-staple",
            "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        ] {
            assert!(!is_weak(strong), "{strong}");
        }
    }
}
