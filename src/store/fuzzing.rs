//! Answers of a server, for [`crate::fuzzing`].

#![expect(clippy::missing_panics_doc, reason = "a panic is how they fail")]

use percent_encoding::percent_decode_str;

use super::backend::path_of;
use super::key::{Key, Keys, Stem};
use super::s3::fuzzing::{Answer, List, Objects, Parts, Readings, Uploads, encode_key, plain};

/// A page of a listing.
pub fn listing(text: &[u8]) {
    let Ok(page) = Objects::read(text) else {
        return;
    };
    for object in page.items.into_iter().flatten() {
        assert!(
            path_of(&object.key).is_ok(),
            "{:?} cannot be addressed",
            object.key
        );
    }
}

/// A refusal.
pub fn answer(text: &[u8]) {
    drop(plain(&String::from_utf8_lossy(text)));
    if let Some(answer) = Answer::parse(text) {
        for status in [200, 301, 403, 404, 503] {
            let answer = Answer {
                status,
                ..answer.clone()
            };
            drop(crate::error::Error::from(answer.error("list")));
        }
    }
}

/// A list of an upload's parts.
pub fn parts(text: &[u8]) {
    drop(Parts::read(text));
}

/// A list of unfinished uploads: each key can be addressed, and the next page is not the first.
pub fn uploads(text: &[u8]) {
    let Ok(page) = Uploads::read(text) else {
        return;
    };
    for leftover in page.items {
        assert!(
            path_of(&leftover.key).is_ok(),
            "{leftover:?} cannot be addressed"
        );
    }
    assert!(
        page.next.is_none_or(|next| !next[0].1.is_empty()),
        "the next page would be the first"
    );
}

/// A backup's name: its keys can be addressed, and survive each encoding.
pub fn key(name: &[u8]) {
    let name = String::from_utf8_lossy(name);
    let (keys, stem) = (Keys::new("home/cellar"), Stem::from_filename(&name));
    for attempt in 0..3 {
        let stem = stem.attempt(attempt, &name);
        let (tar, metadata) = (keys.tar(&stem), keys.metadata(&stem));
        assert_eq!(
            (metadata.tar_of_metadata(), tar.metadata_of_tar()),
            (Some(tar.clone()), Some(metadata.clone()))
        );
        for key in [&tar, &metadata] {
            assert!(
                key.as_str().starts_with(keys.folder()) && key.as_str().len() < 1024,
                "{key:?}"
            );
            survives_encoding(key);
        }
    }
}

fn survives_encoding(key: &Key) {
    assert!(
        path_of(key).is_ok_and(|path| path.as_ref() == key.as_str()),
        "{key:?} cannot be addressed"
    );
    let encoded = encode_key(key);
    let address = percent_decode_str(&encoded).decode_utf8();
    assert!(
        address.is_ok_and(|decoded| decoded == key.as_str()),
        "{encoded}"
    );
    let form: String = url::form_urlencoded::byte_serialize(key.as_str().as_bytes()).collect();
    assert_eq!(
        Readings::default().decode(&form).as_deref(),
        Some(key.as_str()),
        "{form}"
    );
}
