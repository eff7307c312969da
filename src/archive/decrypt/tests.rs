//! Failures at the end of a source, and archives that are none.

use std::path::Path;

use super::*;
use crate::archive::{FoundArchives, read_archives};
use crate::config::Secret;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(path.join(name)).unwrap()
}

fn password() -> Password {
    Password::new(Secret::new("ABCD-efgh-1234"))
}

/// Fails at once.
struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("SHA-256 mismatch"))
    }
}

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("no space"))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn tar_gets_no_end_when_its_source_fails_behind_the_last_entry() {
    let backup = fixture("securetar-v3.tar");
    let mut plain = Vec::new();
    let source = backup.as_slice().chain(Failing);
    assert!(decrypt(source, &mut plain, &mut password()).is_err());
    let mut entries = Entries::new(&*plain);
    let error = loop {
        match entries.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the tar is complete"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Truncated), "{error}");
}

#[test]
fn failed_write_is_no_fault_of_the_archive() {
    let backup = fixture("securetar-v3.tar");
    let error = decrypt(&*backup, &mut Failing, &mut password()).unwrap_err();
    assert!(matches!(error, Error::Write(..)), "{error}");
}

/// A tar of these archives.
fn tar_of(archives: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in archives {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The first archive of the encrypted backup.
fn encrypted() -> Vec<u8> {
    let backup = fixture("securetar-v3.tar");
    let found = read_archives(io::Cursor::new(&backup), |found| !found.is_empty()).unwrap();
    let start = usize::try_from(found.all[0].start).unwrap();
    backup[start..][..usize::try_from(found.all[0].size).unwrap()].to_vec()
}

#[test]
fn archive_that_is_neither_encrypted_nor_a_tar_is_copied() {
    let noise = vec![7; 1000];
    let backup = tar_of(&[("noise.tar", &noise), ("core.tar.gz", &encrypted())]);
    let mut plain = Vec::new();
    let decrypted = decrypt(&*backup, &mut plain, &mut password()).unwrap();
    assert_eq!(
        (decrypted.count, decrypted.copied),
        (1, vec!["noise.tar".to_owned()])
    );
    let mut entries = Entries::new(&*plain);
    assert_eq!(entries.next_entry().unwrap().unwrap().size, 1000);
    let mut copied = Vec::new();
    entries.read_to_end(&mut copied).unwrap();
    assert!(copied == noise);
}

#[test]
fn key_is_checked_by_the_first_archive_that_is_not_plain() {
    let plain = tar_of(&[("a", b"file")]);
    let locked = |tar: &[u8]| {
        let found = read_archives(io::Cursor::new(tar), |found| {
            found.iter().any(super::super::Archive::may_be_locked)
        });
        let found = found?;
        found
            .locked()
            .map(|archive| archive.map(|found| found.name.clone()))
    };
    let encrypted = encrypted();
    let mixed = tar_of(&[
        ("plain.tar", &plain),
        ("empty.tar", b""),
        ("core.tar.gz", &encrypted),
    ]);
    assert_eq!(locked(&mixed).unwrap().as_deref(), Some("core"));
    let all_plain = tar_of(&[("plain.tar", &plain)]);
    assert_eq!(locked(&all_plain).unwrap(), None);
    let cut = &all_plain[..all_plain.len() - 1024];
    assert!(matches!(locked(cut), Err(Error::Truncated)));
    let empty = tar_of(&[("empty.tar", b""), ("backup.json", b"{}")]);
    assert!(matches!(locked(&empty), Err(Error::NoArchive)));
}

#[test]
fn headers_behind_the_wanted_archive_are_not_read() {
    let large = vec![0; 100_000];
    let mut tar = tar_of(&[("wanted.tar", &large), ("later.tar", &large)]);
    tar[512 + 100_352] ^= 1;
    let read = |is_enough: fn(&[crate::archive::Archive]) -> bool| {
        read_archives(io::Cursor::new(&tar), is_enough)
    };
    let found: FoundArchives = read(|found| !found.is_empty()).unwrap();
    assert!(found.all[0].name == "wanted" && !found.is_complete);
    assert!(matches!(read(|_| false), Err(Error::BadHeader(_))));
}
