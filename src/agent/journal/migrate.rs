//! Journals of version 0.1, which name the storage as its log messages do.

use serde_json::Value;

use super::VERSION;
use crate::agent::folder::FolderId;

/// Rewrites a journal of version 0.1; none if the text is not one.
pub(super) fn upgraded(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().position(|&byte| byte == b'\n')? + 1;
    let mut first: Value = serde_json::from_slice(&text[..end]).ok()?;
    let header = first.get_mut("upload")?.as_object_mut()?;
    let place = header.remove("place")?;
    let folder = FolderId::from_journal_of_0_1(place.as_str()?, header.get("key")?.as_str()?)?;
    header.insert("version".to_owned(), VERSION.into());
    header.insert("folder".to_owned(), serde_json::to_value(folder).ok()?);
    let mut upgraded = serde_json::to_vec(&first).ok()?;
    upgraded.push(b'\n');
    upgraded.extend_from_slice(&text[end..]);
    Some(upgraded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::folder::tests::{bucket, directory};
    use crate::store::{Key, Keys, Store};

    #[test]
    fn journal_of_0_1_is_recognised() {
        for location in [
            bucket("https://s3.example.com", ""),
            bucket("http://127.0.0.1:3900", "backups"),
            bucket("https://s3.example.com", "home/backups/x"),
            directory("/mnt/usb", ""),
            directory("/mnt/\"usb", "a/b"),
        ] {
            let id = FolderId::from(&location);
            let keys = Keys::new(&location.prefix);
            let place = Store::open(&location).description().to_owned();
            for name in ["Nightly.tar", "sub/folder/Nightly.tar"] {
                let key = format!("{}{name}", keys.folder());
                assert!(keys.may_be_ours(&Key::new(&key)), "{key}");
                let read = FolderId::from_journal_of_0_1(&place, &key);
                assert_eq!(read.as_ref(), Some(&id), "{place} {key}");
            }
        }
        let place = "bucket \"ha-backups\" at https://s3.example.com/";
        for (place, key) in [(place, "Nightly.tar"), ("ha-backups", "backups/x.tar")] {
            assert_eq!(FolderId::from_journal_of_0_1(place, key), None);
        }
    }
}
