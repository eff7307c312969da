//! Takes secrets out of text that leaves the program: log records, events, diagnostics.
//!
//! Every [`Secret`](crate::config::Secret) is noted here when it comes to be, wherever it is from, and forgotten after
//! its last copy is gone; so no place that makes one has to think of the log. What is looked for is the secret as it
//! is and as URLs, JSON and Rust's `Debug` write it.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

/// A shorter text is part of too many words; nobody's key is that short.
const SHORTEST: usize = 4;

/// What RFC 3986 leaves as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What stands in place of a secret.
pub const HIDDEN: &str = "***";

/// The forms that are looked for, longest first: a secret that holds another one goes as a whole.
static KNOWN: RwLock<Vec<Form>> = RwLock::new(Vec::new());

struct Form {
    text: String,
    secret: Weak<str>,
}

/// Notes a secret, for as long as it is somewhere.
pub fn hide(secret: &Arc<str>) {
    let forms = forms(secret);
    if forms.is_empty() {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.retain(|form| form.secret.strong_count() > 0);
    known.extend(forms.into_iter().map(|text| Form {
        text,
        secret: Arc::downgrade(secret),
    }));
    known.sort_by_key(|form| std::cmp::Reverse(form.text.len()));
}

/// The text without secrets.
#[must_use]
pub fn scrub(text: &str) -> Cow<'_, str> {
    let mut scrubbed = Cow::Borrowed(text);
    for form in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if scrubbed.contains(&form.text) {
            scrubbed = Cow::Owned(scrubbed.replace(&form.text, HIDDEN));
        }
    }
    scrubbed
}

/// The same for every text in a JSON value.
pub fn scrub_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            if let Cow::Owned(scrubbed) = scrub(text) {
                *text = scrubbed;
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(scrub_json),
        serde_json::Value::Object(values) => values.values_mut().for_each(scrub_json),
        _ => {}
    }
}

/// All that a secret may look like in a text.
fn forms(secret: &str) -> Vec<String> {
    let is_address = secret.starts_with("http://") || secret.starts_with("https://");
    let plain = match Url::parse(secret).ok().filter(|_| is_address) {
        Some(url) => credentials(&url),
        None => vec![secret.to_owned()],
    };
    let mut forms: Vec<String> = plain
        .iter()
        .filter(|text| text.len() >= SHORTEST)
        .flat_map(|text| written(text))
        .collect();
    forms.sort();
    forms.dedup();
    forms
}

/// What is secret of an address: not the address itself, which error messages need.
fn credentials(url: &Url) -> Vec<String> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match (url.username(), url.password()) {
        ("", None) => Vec::new(),
        // Some services take a token for a name.
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
    fn a_secret_is_hidden_however_it_is_written() {
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
    fn of_an_address_only_its_credentials_are_hidden() {
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
    fn of_two_that_begin_alike_nothing_is_left() {
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
    fn what_is_gone_is_forgotten_when_the_next_one_comes() {
        drop(hidden("gone-with-the-wind"));
        let _next = hidden("here-to-stay");
        assert_eq!(scrub("gone-with-the-wind"), "gone-with-the-wind");
        let _short = hidden("abc");
        assert_eq!(scrub("abc"), "abc");
    }
}
