//! What a server may answer, for [`crate::fuzzing`].

#![expect(clippy::missing_panics_doc, reason = "to panic is how they tell")]

use percent_encoding::percent_decode_str;

use super::error::Error;
use super::http::answer::{parse_error, plain};
use super::key::{Key, Keys, Stem};
use super::leftover::UploadsPage;
use super::multipart::PartsPage;
use super::s3::encode_key;
use super::s3::listing::{Page, decode, read_page};
use super::{Objects, path_of};

/// A page of a listing.
pub fn listing(text: &[u8]) {
    let mut objects = Objects::default();
    if let Ok(page) = read_page(text) {
        Page::add_to(page, &mut objects);
    }
    for object in objects.objects {
        assert!(
            path_of(&object.key).is_ok(),
            "{:?} cannot be asked for",
            object.key
        );
    }
}

/// A refusal.
pub fn answer(text: &[u8]) {
    drop(plain(&String::from_utf8_lossy(text)));
    if let Some(answer) = parse_error(text) {
        for status in [200, 301, 403, 404, 503] {
            let error = Error::from_answer(
                &super::http::Answer {
                    status,
                    ..answer.clone()
                },
                "list",
            );
            drop(crate::error::Error::from(error));
        }
    }
}

/// A list of an upload's parts.
pub fn parts(text: &[u8]) {
    drop(PartsPage::parse(text));
}

/// A page of a list of unfinished uploads: nothing of another folder is ever taken for ours, and what is can be asked for.
pub fn uploads(text: &[u8]) {
    const FOLDER: &str = "home/backups/";
    let Some(page) = UploadsPage::read(text) else {
        return;
    };
    for leftover in page.leftovers(FOLDER) {
        assert!(
            leftover.key.as_str().starts_with(FOLDER),
            "{leftover:?} is somebody else's"
        );
        assert!(
            path_of(&leftover.key).is_ok(),
            "{leftover:?} cannot be asked for"
        );
    }
    assert!(
        page.next().is_none_or(|(key, _)| !key.is_empty()),
        "the next page would be the first"
    );
}

/// A backup's name: its keys can be asked for, and come back from every way that they are written.
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
            comes_back(key);
        }
    }
}

fn comes_back(key: &Key) {
    let path = path_of(key);
    assert!(
        path.is_ok_and(|path| path.as_ref() == key.as_str()),
        "{key:?} cannot be asked for"
    );
    let encoded = encode_key(key);
    let address = percent_decode_str(&encoded).decode_utf8();
    assert!(
        address.is_ok_and(|decoded| decoded == key.as_str()),
        "{encoded}"
    );
    let form: String = url::form_urlencoded::byte_serialize(key.as_str().as_bytes()).collect();
    assert_eq!(decode(&form).as_deref(), Some(key.as_str()), "{form}");
}
