//! Inner tars, from backups of the Python library and made by hand; `tests/lab/securetar_vectors.py` writes the fixtures.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use super::entries::{Entries, EntryKind};
use super::extract::inside;
use super::inner::Limits;
use super::securetar::Password;
use super::*;
use crate::config::Secret;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::read(path.join(name)).unwrap()
}

fn password() -> Password {
    Password::new(Secret::new("ABCD-efgh-1234"))
}

/// Paths, kinds and contents of all entries.
type Listed = Vec<(String, EntryKind, Vec<u8>)>;

fn list<R: Read>(mut entries: Entries<R>) -> Result<Listed, Error> {
    let mut listed = Vec::new();
    while let Some(entry) = entries.next_entry()? {
        let mut content = Vec::new();
        entries.read_to_end(&mut content)?;
        let path = String::from_utf8(entry.path).unwrap();
        listed.push((path, entry.kind, content));
    }
    Ok(listed)
}

/// The same of each archive in a backup.
fn list_all(backup: &[u8], password: &mut Password) -> Vec<(String, Listed)> {
    let outer = list(Entries::new(backup)).unwrap();
    let archives = outer
        .into_iter()
        .filter(|(path, ..)| archive_name(path.as_bytes()).is_some());
    archives
        .map(|(path, _, archive)| {
            let size = archive.len() as u64;
            let inner = inner::open(Cursor::new(archive), size, Some(password)).unwrap();
            (path, list(inner).unwrap())
        })
        .collect()
}

#[test]
fn encrypted_backups_have_the_content_of_the_plain_one() {
    let plain = list_all(&fixture("securetar-plain.tar"), &mut password());
    let names: Vec<_> = plain.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "homeassistant.tar.gz",
            "core_ssh.tar.gz",
            "addons_local.tar"
        ]
    );
    let (_, core) = &plain[0];
    assert_eq!(core[0].0, "data/");
    assert_eq!(
        core[3],
        (
            "data/.HA_VERSION".into(),
            EntryKind::File,
            b"2026.11.0".into()
        )
    );
    assert!(core[5].0.ends_with("Küche.yaml") && core[5].0.len() > 200);
    assert_eq!((core[6].1, core[6].2.len()), (EntryKind::Link, 0));
    for name in ["securetar-v2.tar", "securetar-v3.tar"] {
        assert!(list_all(&fixture(name), &mut password()) == plain, "{name}");
    }
}

#[test]
fn decrypted_backup_is_a_plain_one() {
    for name in ["securetar-v2.tar", "securetar-v3.tar"] {
        let mut plain = Vec::new();
        let Decrypted { count, copied } =
            decrypt(&*fixture(name), &mut plain, &mut password()).unwrap();
        assert!(copied.is_empty());
        assert_eq!((count, plain.len() % 10_240), (3, 0));
        let outer = list(Entries::new(&*plain)).unwrap();
        let before = list(Entries::new(&*fixture(name))).unwrap();
        let names = |all: &Listed| all.iter().map(|entry| entry.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&outer), names(&before));
        let manifest: serde_json::Value = serde_json::from_slice(&outer[3].2).unwrap();
        assert_eq!(manifest["protected"], false);
        assert_eq!(manifest["slug"], "5ec12e7a");
        let mut again = Vec::new();
        let decrypted = decrypt(&*plain, &mut again, &mut password()).unwrap();
        assert!(
            decrypted == Decrypted::default() && again == plain,
            "a plain backup stays the same"
        );
        let expected = list_all(&fixture("securetar-plain.tar"), &mut password());
        assert!(list_all(&plain, &mut password()) == expected);
    }
}

#[test]
fn wrong_password_is_reported_before_anything_is_written() {
    let mut other = Password::new(Secret::new("another"));
    for name in ["securetar-v2.tar", "securetar-v3.tar"] {
        let mut plain = Vec::new();
        let error = decrypt(&*fixture(name), &mut plain, &mut other).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the archive \"homeassistant.tar.gz\" cannot be opened: the encryption key does not open it"
        );
        assert!(plain.is_empty());
    }
}

pub(super) fn header(path: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_mtime(1_795_000_000);
    header.set_size(size);
    header.set_cksum();
    header
}

/// A tar of entries whose content is their path.
fn tar_of(entries: &[(&str, EntryType)]) -> Vec<u8> {
    let contents = entries.iter().map(|(path, kind)| {
        let is_file = *kind == EntryType::Regular;
        let content = if is_file { path.as_bytes() } else { b"" };
        (header(path, *kind, content.len() as u64), content.to_vec())
    });
    tar_with(contents)
}

pub(super) fn tar_with(entries: impl IntoIterator<Item = (Header, Vec<u8>)>) -> Vec<u8> {
    let mut tar = Vec::new();
    for (header, content) in entries {
        tar.extend(header.as_bytes());
        tar.extend(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[test]
fn nothing_is_written_outside_the_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("out/here");
    let tar = tar_of(&[
        ("good/file", EntryType::Regular),
        ("./good/./again//file", EntryType::Regular),
        ("../evil", EntryType::Regular),
        ("good/../../evil", EntryType::Regular),
        ("/tmp/s3-backup-agent-evil", EntryType::Regular),
        ("good/link", EntryType::Symlink),
        ("good/link/through", EntryType::Regular),
        ("hard", EntryType::Link),
        ("device", EntryType::Block),
        ("pipe", EntryType::Fifo),
        ("..", EntryType::Directory),
        (".", EntryType::Directory),
        ("empty", EntryType::Directory),
        ("good/file", EntryType::Regular),
    ]);
    let extracted = extract(&mut Entries::new(&*tar), &folder).unwrap();
    assert_eq!((extracted.files, extracted.left_out), (4, 8));
    assert_eq!(extracted.left_out_files, 4, "three outside, and a link");
    assert_eq!(extracted.left_out_paths[2], "/tmp/s3-backup-agent-evil");
    assert!(!Path::new("/tmp/s3-backup-agent-evil").exists());
    let names = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(temporary.path()), ["out"]);
    assert_eq!(names(&temporary.path().join("out")), ["here"]);
    assert_eq!(names(&folder), ["empty", "good"]);
    let through = folder.join("good/link/through");
    assert!(through.symlink_metadata().unwrap().is_file());
    let file = fs::metadata(folder.join("good/file")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o700);
    let modified = file
        .modified()
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH);
    assert_eq!(modified.unwrap().as_secs(), 1_795_000_000);
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let error = extract(&mut Entries::new(&*tar), &folder).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
}

#[test]
fn paths_stay_inside() {
    assert_eq!(inside(b"./a//b/./c/"), Some(PathBuf::from("a/b/c")));
    assert_eq!(inside(b"."), Some(PathBuf::new()));
    assert_eq!(inside(b"a/..b/c.."), Some(PathBuf::from("a/..b/c..")));
    for outside in [&b"/a"[..], b"..", b"a/..", b"a/../b", b"./../a", b"a\0b"] {
        assert_eq!(inside(outside), None, "{outside:?}");
    }
}

pub(super) fn gzip(plain: impl Read, level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    std::io::copy(&mut { plain }, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn open_and_list(archive: &[u8]) -> Result<u64, Error> {
    let mut entries = inner::open(archive, archive.len() as u64, None)?;
    let mut count = 0;
    while entries.next_entry()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[test]
fn bombs_are_refused() {
    const MIB: u64 = 1024 * 1024;
    let limits = |free, all| Limits {
        ratio: 250,
        free,
        all,
    };
    let file = header("zeros", EntryType::Regular, 32 * MIB);
    let zeros = std::io::repeat(0).take(32 * MIB + 1024);
    let bomb = gzip(file.as_bytes().chain(zeros), Compression::default());
    let read = |limits| {
        let mut entries = inner::open_within(&*bomb, bomb.len() as u64, None, limits)?;
        entries.next_entry()?;
        entries.next_entry()
    };
    assert!(matches!(read(limits(16 * MIB, 64 * MIB)), Err(Error::Bomb)));
    assert!(matches!(read(limits(64 * MIB, 16 * MIB)), Err(Error::Bomb)));
    assert!(read(limits(64 * MIB, 64 * MIB)).unwrap().is_none());
    assert_eq!(open_and_list(&bomb).unwrap(), 1, "zeros alone are no bomb");
}

/// A block, again and again.
struct Repeated(Header, u64);

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = (&self.0.as_bytes()[usize::try_from(self.1 % 512).unwrap()..]).read(buffer)?;
        self.1 += read as u64;
        Ok(read)
    }
}

#[test]
fn entries_are_limited() {
    let many = Repeated(header("a", EntryType::Regular, 0), 0);
    let mut entries = Entries::limited(many, 1000);
    for _ in 0..1000 {
        entries.next_entry().unwrap();
    }
    assert!(matches!(
        entries.next_entry(),
        Err(Error::TooManyFiles(1000))
    ));
    // A long name takes a header of its own, and is no entry.
    let named = || {
        [
            (header("n", EntryType::GNULongName, 4), b"long".to_vec()),
            (header("a", EntryType::Regular, 0), Vec::new()),
        ]
    };
    let tar = tar_with((0..1000).flat_map(|_| named()));
    let mut entries = Entries::limited(&*tar, 1000);
    while entries.next_entry().unwrap().is_some() {}
    let links = Repeated(header("l", EntryType::GNULongLink, 0), 0);
    let mut entries = Entries::new(links);
    assert!(matches!(entries.next_entry(), Err(Error::Unusual(_))));
}

#[test]
fn damage_is_reported() {
    let tar = tar_of(&[("a", EntryType::Regular), ("b", EntryType::Regular)]);
    let packed = gzip(&*tar, Compression::default());
    assert_eq!(open_and_list(&packed).unwrap(), 2);
    assert!(matches!(open_and_list(&tar[..1500]), Err(Error::Truncated)));
    assert!(matches!(
        open_and_list(&packed[..packed.len() / 2]),
        Err(Error::Truncated)
    ));
    let mut changed = packed.clone();
    changed[30] ^= 0xff;
    assert!(open_and_list(&changed).is_err());
    let mut changed = tar;
    changed[1024 + 3] ^= 1;
    assert!(matches!(
        open_and_list(&changed),
        Err(Error::BadHeader(1024))
    ));
    let long = header("p", EntryType::XHeader, 300 * 1024);
    let long = [long.as_bytes().to_vec(), vec![0; 400 * 1024]].concat();
    assert!(matches!(open_and_list(&long), Err(Error::TooLarge(..))));
    let mut huge = Vec::new();
    huge.write_all(header("a", EntryType::Regular, (1 << 33) - 1).as_bytes())
        .unwrap();
    huge.resize(5000, 0);
    assert!(matches!(open_and_list(&huge), Err(Error::Truncated)));
}
