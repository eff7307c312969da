//! The one scrubber of secrets: for log records, panics, errors, events, diagnostics and the page.
//!
//! Every [`Secret`](crate::config::Secret) registers itself here when it is created, and is forgotten after its last copy
//! is dropped. The scrubber searches for the secret itself and for its forms in URLs, JSON and Rust's `Debug`.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::RwLock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

/// Minimum length of a secret: a shorter text is part of too many words, and no key is that short.
const MIN_BYTES: usize = 4;

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
    text: String,
    secret: Weak<str>,
}

/// Registers a secret until its last copy is dropped.
pub fn hide(secret: &Arc<str>) {
    let forms = forms(secret);
    if forms.is_empty() {
        return;
    }
    let mut known = KNOWN.write();
    known.retain(|form| form.secret.strong_count() > 0);
    known.extend(forms.into_iter().map(|text| Form {
        text,
        secret: Arc::downgrade(secret),
    }));
    known.sort_by_key(|form| std::cmp::Reverse(form.text.len()));
}

/// Replaces secrets in a text.
#[must_use]
pub fn scrub(text: &str) -> Cow<'_, str> {
    let mut scrubbed = Cow::Borrowed(text);
    for form in KNOWN.read().iter() {
        if scrubbed.contains(&form.text) {
            scrubbed = Cow::Owned(scrubbed.replace(&form.text, HIDDEN));
        }
    }
    scrubbed
}

/// Replaces secrets in a text, and `id`, which is no secret elsewhere; an empty one stands for none.
pub fn scrub_with(text: &mut String, id: &str) {
    if !id.is_empty() && text.contains(id) {
        *text = text.replace(id, HIDDEN);
    }
    if let Cow::Owned(scrubbed) = scrub(text) {
        *text = scrubbed;
    }
}

/// Cuts the credentials from a text that may be a URL, so that a message can repeat it.
#[must_use]
pub fn without_credentials(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// Replaces secrets in every text of a JSON value.
pub fn scrub_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => scrub_with(text, ""),
        serde_json::Value::Array(values) => values.iter_mut().for_each(scrub_json),
        serde_json::Value::Object(values) => values.values_mut().for_each(scrub_json),
        _ => {}
    }
}

/// Returns all forms a secret may have in a text.
fn forms(secret: &str) -> Vec<String> {
    let schemes = ["http://", "https://", "socks5://", "socks5h://"];
    let is_address = schemes.iter().any(|scheme| secret.starts_with(scheme));
    let plain = match Url::parse(secret).ok().filter(|_| is_address) {
        Some(url) => credentials(&url),
        None => vec![secret.to_owned()],
    };
    let mut forms: Vec<String> = plain
        .iter()
        .filter(|text| text.len() >= MIN_BYTES)
        .flat_map(|text| written(text))
        .collect();
    forms.sort();
    forms.dedup();
    forms
}

/// Returns the credentials in a URL. The URL itself stays: error messages need it.
fn credentials(url: &Url) -> Vec<String> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match (url.username(), url.password()) {
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
    }
}

fn written(text: &str) -> [String; 4] {
    let json = serde_json::Value::from(text).to_string();
    let json = json.get(1..json.len() - 1).unwrap_or_default().to_owned();
    [
        text.to_owned(),
        utf8_percent_encode(text, ENCODED).to_string(),
        text.escape_debug().to_string(),
        json,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(secret: &str) -> Arc<str> {
        let secret = Arc::from(secret);
        hide(&secret);
        secret
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
    fn dropped_secret_is_forgotten_when_the_next_one_registers() {
        drop(hidden("gone-with-the-wind"));
        let _next = hidden("here-to-stay");
        assert_eq!(scrub("gone-with-the-wind"), "gone-with-the-wind");
        let _short = hidden("abc");
        assert_eq!(scrub("abc"), "abc");
    }
}
