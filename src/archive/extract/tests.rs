//! Archives that are cut, changed, or have links.

use flate2::Compression;
use tar::{EntryType, Header};

use super::*;
use crate::archive::inner;
use crate::archive::tests::{gzip, header, open_and_list, tar_with};

#[test]
fn checksum_behind_the_tar_is_compared() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("out");
    let tar = tar_with([(header("a", EntryType::Regular, 1), vec![b'a'])]);
    let mut packed = gzip(&*tar, Compression::default());
    let crc = packed.len() - 8;
    packed[crc] ^= 1;
    assert_eq!(open_and_list(&packed).unwrap(), 1, "the tar itself is fine");
    let mut entries = inner::open(&*packed, packed.len() as u64, None).unwrap();
    let error = extract(&mut entries, &folder).unwrap_err();
    assert!(matches!(error, Error::Incomplete(..)), "{error}");
    assert!(matches!(error.root(), Error::BadGzip(_)));
}

#[test]
fn cut_file_is_removed() {
    let temporary = tempfile::tempdir().unwrap();
    let entries = [("whole", 10), ("cut", 5000)];
    let entries = entries.map(|(path, size)| {
        let header = header(path, EntryType::Regular, size);
        (header, vec![b'x'; usize::try_from(size).unwrap()])
    });
    let tar = tar_with(entries);
    let error = extract(&mut Entries::new(&tar[..3000]), temporary.path()).unwrap_err();
    assert!(matches!(error, Error::Incomplete(..)), "{error}");
    assert!(temporary.path().join("whole").exists());
    assert!(!temporary.path().join("cut").exists());
}

fn hard_link(path: &str, target: &str) -> (Header, Vec<u8>) {
    let mut header = header(path, EntryType::Link, 0);
    header.set_link_name_literal(target).unwrap();
    header.set_cksum();
    (header, Vec::new())
}

#[test]
fn hard_links_lead_to_extracted_files_only() {
    let temporary = tempfile::tempdir().unwrap();
    let deep = "d/".repeat(40);
    let tar = tar_with([
        (header("a/file", EntryType::Regular, 4), b"here".to_vec()),
        hard_link("b/link", "./a/file"),
        (header("l", EntryType::GNULongLink, 6), b"a/file".to_vec()),
        hard_link("long", "no"),
        hard_link("a/file", "a/file"),
        hard_link("outside", "../../etc/passwd"),
        hard_link("root", "/etc/passwd"),
        hard_link("missing", "a/none"),
        hard_link("folder", "a"),
        (header(&deep, EntryType::Directory, 0), Vec::new()),
    ]);
    let extracted = extract(&mut Entries::new(&*tar), temporary.path()).unwrap();
    assert_eq!((extracted.files, extracted.left_out_files), (3, 5));
    assert_eq!(
        extracted.left_out_paths,
        ["a/file", "outside", "root", "missing", "folder"]
    );
    for path in ["a/file", "b/link", "long"] {
        assert_eq!(fs::read(temporary.path().join(path)).unwrap(), b"here");
    }
}

#[test]
fn folders_have_a_limited_depth() {
    let temporary = tempfile::tempdir().unwrap();
    let (deep, deeper) = ("d/".repeat(63) + "f", "e/".repeat(64) + "f");
    let tar = tar_with([&deep, &deeper].map(|path| {
        let (prefix, name) = path.split_at(path.len() - 61);
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        let prefix = prefix.trim_end_matches('/').as_bytes();
        header.as_mut_bytes()[345..345 + prefix.len()].copy_from_slice(prefix);
        header.set_size(0);
        header.set_cksum();
        (header, Vec::new())
    }));
    let extracted = extract(&mut Entries::new(&*tar), temporary.path()).unwrap();
    assert_eq!((extracted.files, extracted.left_out_files), (1, 1));
    assert!(temporary.path().join(deep).exists() && !temporary.path().join("e").exists());
}
