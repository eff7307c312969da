//! Against archives that the Python library encrypted; `tests/lab/securetar_vectors.py` writes the fixtures.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::cipher::{AES_128, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::iv::FixedLength;
use serde_json::Value;

use super::v3::Stream;
use super::*;
use crate::config::Secret;
use crate::units::hex;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn vectors() -> (Password, Vec<Value>) {
    let json = std::fs::read(fixture("securetar.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let password = Password::new(Secret::new(json["password"].as_str().unwrap()));
    (password, json["vectors"].as_array().unwrap().clone())
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// As in the script that wrote the fixtures.
fn plain(size: usize) -> Vec<u8> {
    let noise = (0..251).cycle();
    b"\x1f\x8b\x08"
        .iter()
        .copied()
        .chain(noise)
        .take(size)
        .collect()
}

/// Encrypts as the header says, so that the fixtures need no content.
fn encrypt(password: &mut Password, header: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut archive = header.to_vec();
    match Header::read(header).unwrap() {
        Header::V2(fields) => {
            // The key is right whatever the content is; the check of the content comes later.
            let key = password.key_v2(&fields);
            let context = EncryptionContext::Iv128(FixedLength::from(&key.vector));
            let cipher = UnboundCipherKey::new(&AES_128, key.key.as_slice()).unwrap();
            let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).unwrap();
            let mut body = plain.to_vec();
            cipher.less_safe_encrypt(&mut body, context).unwrap();
            archive.extend(body);
        }
        Header::V3(fields) => {
            let key = password.open_v3(&fields).unwrap();
            let mut stream = Stream::new(&key, &fields.stream_header);
            let mut chunks: Vec<_> = plain.chunks(1024 * 1024).collect();
            let last = chunks.pop().unwrap_or_default();
            for chunk in chunks {
                archive.extend(stream.seal(0, chunk));
            }
            archive.extend(stream.seal(3, last));
        }
    }
    archive
}

fn open(archive: &[u8], password: &mut Password) -> io::Result<Vec<u8>> {
    let size = archive.len() as u64;
    let mut read = Vec::new();
    Plain::open(Cursor::new(archive), size, Some(password))?.read_to_end(&mut read)?;
    Ok(read)
}

fn error(result: io::Result<Vec<u8>>) -> Option<Error> {
    result.err()?.downcast().ok()
}

#[test]
fn archives_of_the_python_library_are_decrypted() {
    let (mut password, vectors) = vectors();
    for vector in vectors {
        let header = unhex(vector["header"].as_str().unwrap());
        let plain = plain(usize::try_from(vector["size"].as_u64().unwrap()).unwrap());
        let archive = encrypt(&mut password, &header, &plain);
        let name = format!("version {} with {} bytes", vector["version"], plain.len());
        let sha256 = hex(digest(&SHA256, &archive));
        assert_eq!(vector["sha256"], sha256, "{name} is the same as in Python");
        let read = open(&archive, &mut password);
        if vector["version"] == 2 && plain.len() < 3 {
            assert_eq!(error(read), Some(Error::WrongPassword), "{name}");
        } else {
            assert!(read.unwrap() == plain, "{name}");
        }
    }
}

#[test]
fn password_is_checked_by_the_head_alone() {
    let (mut password, vectors) = vectors();
    let mut other = Password::new(Secret::new("ABCD-efgh-1235"));
    for vector in [&vectors[5], &vectors[SIZES_PER_VERSION + 5]] {
        let header = unhex(vector["header"].as_str().unwrap());
        let archive = encrypt(&mut password, &header, &plain(511));
        let head = &archive[..HEAD_BYTES];
        let Ok(Content::Encrypted(header)) = Content::of(head) else {
            panic!("not recognised");
        };
        assert_eq!(password.check(&header, head), Ok(()));
        assert_eq!(other.check(&header, head), Err(Error::WrongPassword));
        let read = open(&archive, &mut other);
        assert_eq!(error(read), Some(Error::WrongPassword));
    }
}

/// Sizes in the fixtures for each version.
const SIZES_PER_VERSION: usize = 17;

/// An archive of version 3 with three chunks.
fn three_chunks() -> (Password, Vec<u8>) {
    let (mut password, vectors) = vectors();
    let header = unhex(
        vectors[2 * SIZES_PER_VERSION - 1]["header"]
            .as_str()
            .unwrap(),
    );
    let archive = encrypt(&mut password, &header, &plain(3 * 1024 * 1024 + 5));
    (password, archive)
}

#[test]
fn every_changed_bit_of_version_3_is_found() {
    let (mut password, archive) = three_chunks();
    let size = archive.len();
    let chunk = 1024 * 1024 + 17;
    for at in [
        136,
        137,
        5000,
        136 + chunk - 1,
        136 + chunk,
        136 + 2 * chunk + 7,
        size - 1,
    ] {
        let mut changed = archive.clone();
        changed[at] ^= 0x10;
        let start = 136 + (at - 136) / chunk * chunk;
        let read = open(&changed, &mut password);
        assert_eq!(error(read), Some(Error::Damaged(start as u64)), "{at}");
    }
}

#[test]
fn moved_repeated_and_missing_chunks_are_found() {
    let (mut password, archive) = three_chunks();
    let chunk = 1024 * 1024 + 17;
    let at = |index: usize| 136 + index * chunk..136 + (index + 1) * chunk;
    let swapped = [
        &archive[..136],
        &archive[at(1)],
        &archive[at(0)],
        &archive[at(2).start..],
    ]
    .concat();
    let read = open(&swapped, &mut password);
    assert_eq!(error(read), Some(Error::Damaged(136)));
    let repeated = [
        &archive[..at(0).end],
        &archive[at(0)],
        &archive[at(2).start..],
    ]
    .concat();
    let read = open(&repeated, &mut password);
    assert_eq!(error(read), Some(Error::Damaged(at(1).start as u64)));
    let mut shorter = [&archive[..136], &archive[at(0)], &archive[at(1)]].concat();
    assert_eq!(error(open(&shorter, &mut password)), Some(Error::WrongSize));
    shorter[16..24].copy_from_slice(&(2 * CHUNK as u64).to_be_bytes());
    let read = open(&shorter, &mut password);
    assert_eq!(
        error(read),
        Some(Error::Damaged(at(1).start as u64)),
        "no last chunk"
    );
}

const CHUNK: usize = 1024 * 1024;

#[test]
fn chunk_is_decrypted_by_the_tags_before_it() {
    let (mut password, archive) = three_chunks();
    let Header::V3(header) = Header::read(&archive).unwrap() else {
        panic!("another version");
    };
    let mut stream = Stream::new(&password.open_v3(&header).unwrap(), &header.stream_header);
    let mut chunks: Vec<_> = archive[136..]
        .chunks(CHUNK + 17)
        .map(<[u8]>::to_vec)
        .collect();
    for chunk in &chunks[..2] {
        stream.skip(chunk.last_chunk().unwrap()).unwrap();
    }
    assert_eq!(stream.open(&mut chunks[2]), Some(0));
    assert!(chunks[2][1..=CHUNK] == plain(4 * CHUNK)[2 * CHUNK..3 * CHUNK]);
    assert_eq!(stream.open(&mut chunks[3]), Some(3));
}

#[test]
fn truncated_archives_are_found() {
    let (mut password, archive) = three_chunks();
    let size = archive.len() as u64;
    for end in [0, 8, 100, 136, 500, 5000, archive.len() - 1] {
        let opened = Plain::open(Cursor::new(&archive[..end]), size, Some(&mut password));
        let read = opened.and_then(|mut plain| io::copy(&mut plain, &mut io::sink()));
        let error = read.err().and_then(|error| error.downcast().ok());
        assert_eq!(error, Some(Error::Truncated), "{end}");
    }
    let read = open(&archive[..archive.len() - 1], &mut password);
    assert_eq!(error(read), Some(Error::WrongSize));
}

#[test]
fn unusual_heads_are_refused() {
    let (_, archive) = three_chunks();
    let changed = |at: usize, byte: u8| {
        let mut head = archive[..HEAD_BYTES].to_vec();
        head[at] = byte;
        Content::of(&head).map(drop)
    };
    assert_eq!(changed(9, 3), Ok(()));
    assert_eq!(changed(9, 1), Err(Error::UnknownVersion(1)));
    assert_eq!(changed(9, 4), Err(Error::UnknownVersion(4)));
    assert_eq!(changed(15, 1), Err(Error::BadHeader));
    assert_eq!(changed(31, 1), Ok(()), "the library ignores these bytes");
    assert_eq!(changed(0, b's'), Err(Error::Unknown));
    assert!(matches!(
        Content::of(&archive[..100]),
        Err(Error::Truncated)
    ));
    assert!(matches!(Content::of(&[]), Err(Error::Unknown)));
    let mut head = archive[..HEAD_BYTES].to_vec();
    for version in [2, 3] {
        head[9] = version;
        for size in [u64::MAX, u64::MAX - 16, u64::MAX / 17] {
            head[16..24].copy_from_slice(&size.to_be_bytes());
            let header = Header::read(&head).unwrap();
            assert!(header.archive_size().is_none_or(|all| all > size));
        }
    }
}

#[test]
fn plain_archives_are_read_as_they_are() {
    let archive = plain(5000);
    let mut read = Vec::new();
    let mut opened = Plain::open(Cursor::new(&archive), 5000, None).unwrap();
    assert!(!opened.is_encrypted() && opened.size() == 5000);
    opened.read_to_end(&mut read).unwrap();
    assert!(read == archive);
    let longer = Plain::open(Cursor::new(&archive), 5001, None);
    let read = longer.and_then(|mut plain| io::copy(&mut plain, &mut io::sink()));
    let error = read.err().and_then(|error| error.downcast().ok());
    assert_eq!(error, Some(Error::Truncated));
}

#[test]
fn password_is_not_shown() {
    let (mut password, vectors) = vectors();
    let header = unhex(vectors[SIZES_PER_VERSION]["header"].as_str().unwrap());
    let Header::V3(header) = Header::read(&header).unwrap() else {
        panic!("another version");
    };
    let key = password.open_v3(&header).unwrap();
    let stream = Stream::new(&key, &header.stream_header);
    assert_eq!(
        format!("{password:?} {stream:?}"),
        "Password Stream at chunk 1"
    );
}
