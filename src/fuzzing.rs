//! Entry points to all parsers of foreign input. Each accepts any bytes, and panics only on a bug.
//!
//! `fuzz/` calls them with generated input, the tests with the inputs of `fuzz/corpus/`.

#![expect(clippy::missing_panics_doc, reason = "a panic reports a bug")]

use std::io::{Cursor, Read, copy, sink};
use std::path::Path;

use crate::api::range;
use crate::archive::entries::Entries;
use crate::archive::securetar::{Content, HEAD_BYTES, Plain};
use crate::archive::{self, Contents, Error, Manifest, Walker, inner, inside};
use crate::backup::{Damage, FORMAT, StoredBackup};
use crate::config::{Config, Environment, Location};
pub use crate::store::fuzzing::{answer, key, listing, parts, uploads};

/// Walks a tar, in pieces whose size is the first byte. If the second byte is odd, every block gets a valid header
/// checksum: without it, most mutations would fail at the first header.
pub fn tar(data: &[u8]) {
    let [piece, mend, tar @ ..] = data else {
        return;
    };
    let tar = if mend % 2 == 1 {
        with_checksums(tar)
    } else {
        tar.to_vec()
    };
    let (whole, pieces) = (
        walked(tar.chunks(tar.len().max(1))),
        walked(tar.chunks(usize::from(*piece) + 1)),
    );
    assert_eq!(
        whole, pieces,
        "the result depends on the size of the pieces"
    );
    let read = archive::read_contents(Cursor::new(&tar)).map(|found| summary(&found));
    assert_eq!(
        read.map_err(|error| error.to_string()),
        whole,
        "a file and a stream have different results"
    );
}

fn summary(contents: &Contents) -> String {
    let inventory = contents.inventory.as_ref();
    format!("{} {inventory:?}", contents.manifest.backup_id())
}

fn walked<'t>(mut pieces: impl Iterator<Item = &'t [u8]>) -> Result<String, String> {
    let mut walker = Walker::default();
    let found = pieces
        .try_for_each(|piece| walker.push(piece))
        .and_then(|()| walker.finish());
    found
        .map(|contents| summary(&contents))
        .map_err(|error| error.to_string())
}

fn with_checksums(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    for block in tar
        .chunks_exact_mut(512)
        .filter(|block| block.iter().any(|&byte| byte != 0))
    {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    tar
}

/// Reads the start of an archive, and all of it if it is not encrypted.
pub fn securetar(archive: &[u8]) {
    let size = archive.len() as u64;
    let head = &archive[..archive.len().min(HEAD_BYTES)];
    if let Ok(Content::Encrypted(header)) = Content::of(head) {
        let is_possible = |all: u64| all > header.plain_size() && all > header.length() as u64;
        assert!(header.archive_size().is_none_or(is_possible));
    }
    let read = Plain::open(archive, size, None).map(|mut plain| copy(&mut plain, &mut sink()));
    if let Ok(read) = read {
        assert_eq!(read.ok(), Some(size), "a plain archive is changed");
    }
}

/// Reads the entries of an archive in a backup. If the first byte is odd, every block gets a valid header checksum.
pub fn inner(data: &[u8]) {
    let Some((mend, archive)) = data.split_first() else {
        return;
    };
    let archive = if mend % 2 == 1 {
        with_checksums(archive)
    } else {
        archive.to_vec()
    };
    let (skipped, read) = (entries(&archive, false), entries(&archive, true));
    assert_eq!(skipped, read, "the result depends on how content is read");
}

/// Paths and sizes of all entries, or an error.
fn entries(archive: &[u8], is_read: bool) -> Result<Vec<(String, u64)>, String> {
    let read = |mut entries: Entries<inner::Inner<&[u8]>>| {
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            let path = inside(&entry.path).unwrap_or_default();
            assert!(path.is_relative() && !path.iter().any(|name| name == ".."));
            if is_read {
                let read = copy(&mut entries.by_ref(), &mut sink())?;
                assert_eq!(read, entry.size);
            }
            all.push((path.display().to_string(), entry.size));
        }
        Ok(all)
    };
    let opened = inner::open(archive, archive.len() as u64, None);
    opened
        .and_then(read)
        .map_err(|error: Error| error.to_string())
}

/// Parses a `backup.json`; the metadata made of it round-trips.
pub fn manifest(json: &[u8]) {
    let Ok(backup) = Manifest::parse(json).and_then(|manifest| manifest.into_agent_backup(1))
    else {
        return;
    };
    let written = StoredBackup {
        backup,
        agent: None,
    }
    .to_object();
    metadata(&written.unwrap_or_default());
}

/// Parses a metadata object; the result, damaged or not, round-trips, and has no damage then.
pub fn metadata(json: &[u8]) {
    let Ok(mut stored) = StoredBackup::read(json).map(|read| read.stored) else {
        return;
    };
    if let Some(agent) = &mut stored.agent {
        agent.format = FORMAT;
    }
    let again = stored
        .to_object()
        .and_then(|json| StoredBackup::read(&json));
    let is_same = again.is_ok_and(|again| {
        let is_changed = again.damage.as_ref().is_some_and(Damage::is_change);
        again.stored == stored && !is_changed
    });
    assert!(is_same, "{stored:?} changes in a round trip");
    key(stored.backup.suggested_stem().as_bytes());
}

/// Parses a `Range` header, for an object whose size is in the first eight bytes.
pub fn range(data: &[u8]) {
    let Some((size, text)) = data.split_first_chunk() else {
        return;
    };
    let Ok(value) = http::HeaderValue::from_bytes(text) else {
        return;
    };
    let (size, headers) = (
        u64::from_le_bytes(*size),
        http::HeaderMap::from_iter([(http::header::RANGE, value)]),
    );
    if let Ok(range::Requested::Part(part)) = range::requested(&headers, size, "\"e\"") {
        assert!(
            part.start < part.end && part.end <= size,
            "{part:?} of {size} bytes"
        );
    }
}

/// Parses the app's options, or `agent.toml` if the first byte is odd, with and without Supervisor.
pub fn options(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let mut environment = Environment::from([
        ("A".to_owned(), "1".to_owned()),
        ("USER".to_owned(), "root".to_owned()),
    ]);
    if kind & 2 == 2 {
        environment.insert(
            "SUPERVISOR_TOKEN".to_owned(),
            "a-token-of-supervisor".to_owned(),
        );
    }
    // One file per process; a memory file system makes it cheap.
    let file = Path::new("/dev/shm").join(format!("s3-backup-agent-fuzz-{}", std::process::id()));
    if std::fs::write(&file, text).is_err() {
        return;
    }
    let nothing = Path::new("/nowhere");
    let (toml, json) = if kind & 1 == 1 {
        (Some(&*file), nothing)
    } else {
        (None, &*file)
    };
    match Config::from_layers(toml, json, &environment) {
        Ok(config) => assert!(config.supervisor.is_some() || config.problems.is_empty()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

/// Parses a location's settings, as registered by Home Assistant.
pub fn settings(json: &[u8]) {
    let Ok(json) = serde_json::from_slice(json) else {
        return;
    };
    match Location::from_json(&json) {
        Ok((location, _)) => drop(location.report()),
        Err(problems) => assert!(!problems.is_empty(), "rejected without a reason"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 13] = [
        ("answer", answer),
        ("inner", inner),
        ("key", key),
        ("listing", listing),
        ("manifest", manifest),
        ("metadata", metadata),
        ("options", options),
        ("parts", parts),
        ("range", range),
        ("securetar", securetar),
        ("settings", settings),
        ("tar", tar),
        ("uploads", uploads),
    ];

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_corpus_input_is_handled() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        assert_eq!(names(&fuzz.join("corpus")), TARGETS.map(|(name, _)| name));
        assert_eq!(
            names(&fuzz.join("targets")),
            TARGETS.map(|(name, _)| format!("{name}.rs"))
        );
        for (target, run) in TARGETS {
            let corpus = fuzz.join("corpus").join(target);
            let inputs = names(&corpus);
            assert!(inputs.len() >= 5, "{target} has {} inputs", inputs.len());
            for input in inputs {
                println!("{target}/{input}");
                run(&std::fs::read(corpus.join(input)).unwrap());
            }
        }
    }
}
