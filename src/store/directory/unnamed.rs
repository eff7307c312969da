//! Files of a directory that never got their name: `object_store` writes `NAME#1` until the object is complete
//! (`staged_upload_path` in its `local.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::backend::{Leftover, SessionId};
use crate::store::key::Key;

/// Depth of folders within folders.
const MAX_DEPTH: usize = 16;

/// Finds them under `folder`.
pub(super) fn files(root: &Path, folder: &str) -> Vec<Leftover> {
    let mut found = Vec::new();
    add(root, &root.join(folder), MAX_DEPTH, &mut found);
    found
}

fn add(root: &Path, folder: &Path, depth: usize, found: &mut Vec<Leftover>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        // Links are not followed.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => {
                add(root, &entry.path(), depth - 1, found);
            }
            Ok(kind) if kind.is_file() => found.extend(unnamed(root, entry.path())),
            _ => {}
        }
    }
}

fn unnamed(root: &Path, path: PathBuf) -> Option<Leftover> {
    let (name, number) = path.strip_prefix(root).ok()?.to_str()?.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let key = Key::new(is_number.then_some(name)?);
    let begun = fs::metadata(&path).ok()?.modified().ok()?.into();
    Some(Leftover {
        key,
        begun,
        id: SessionId::File(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unnamed_file_is_recognised_by_its_number() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("backups/a");
        fs::create_dir_all(&folder).unwrap();
        for name in [
            "b.tar#1",
            "b.tar#12",
            "b.tar",
            "b.tar#",
            "b.tar#x",
            "#1 fan.tar",
        ] {
            fs::write(folder.join(name), "x").unwrap();
        }
        let mut keys: Vec<_> = files(root.path(), "backups/")
            .into_iter()
            .map(|left| left.key)
            .collect();
        keys.sort();
        assert_eq!(
            keys,
            [Key::new("backups/a/b.tar"), Key::new("backups/a/b.tar")]
        );
        assert!(files(root.path(), "elsewhere/").is_empty());
    }
}
