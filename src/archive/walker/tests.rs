use tar::Header as Written;

use super::*;

const MANIFEST: &[u8] = br#"{"slug": "abc", "name": "n", "date": "2026-11-20T00:00:00+00:00"}"#;

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8]) {
    let mut header = Written::new_ustar();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, data).unwrap();
}

fn backup(manifest: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "./homeassistant.tar.gz", &[7; 1500]);
    append(&mut tar, "./empty", b"");
    append(&mut tar, "./backup.json", manifest);
    tar.into_inner().unwrap()
}

fn head(kind: u8, name: &str, size: u64) -> Vec<u8> {
    let mut header = Written::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.as_mut_bytes()[156] = kind;
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.resize(data.len().next_multiple_of(BLOCK), 0);
    padded
}

fn entry(kind: u8, name: &str, data: &[u8]) -> Vec<u8> {
    [head(kind, name, data.len() as u64), padded(data)].concat()
}

fn pax(records: &str) -> Vec<u8> {
    entry(b'x', "pax", records.as_bytes())
}

fn walk(tar: &[u8], piece: usize) -> Result<Manifest, Error> {
    let mut walker = Walker::default();
    tar.chunks(piece).try_for_each(|piece| walker.push(piece))?;
    walker.finish().map(|contents| contents.manifest)
}

#[test]
fn manifest_is_found_for_any_piece_size() {
    let tar = backup(MANIFEST);
    for piece in [1, 7, 511, 512, 513, tar.len()] {
        assert_eq!(walk(&tar, piece).unwrap().backup_id(), "abc", "{piece}");
    }
}

#[test]
fn skippable_data_can_be_skipped() {
    let tar = backup(MANIFEST);
    let (mut walker, mut offset, mut pushed) = (Walker::default(), 0, 0);
    while !walker.is_at_end() {
        walker.push(&tar[offset..offset + 512]).unwrap();
        (offset, pushed) = (offset + 512, pushed + 512);
        offset += usize::try_from(walker.skippable()).unwrap();
        walker.skip().unwrap();
    }
    assert_eq!(walker.finish().unwrap().manifest.backup_id(), "abc");
    // Headers of the large and the empty entry, the first block of the large one, two blocks of the manifest, the end mark.
    assert_eq!(pushed, 6 * 512);
}

#[test]
fn bytes_after_the_end_mark_are_ignored() {
    let mut tar = backup(MANIFEST);
    tar.extend([0; 10_240]);
    assert_eq!(walk(&tar, 4096).unwrap().backup_id(), "abc");
}

#[test]
fn truncated_or_damaged_tar_is_refused() {
    let tar = backup(MANIFEST);
    for end in [0, 100, 512, 700, tar.len() - 1024] {
        assert!(
            matches!(walk(&tar[..end], 100), Err(Error::Truncated)),
            "{end}"
        );
    }
    let mut damaged = tar.clone();
    damaged[5] ^= 1;
    assert!(matches!(walk(&damaged, 100), Err(Error::BadHeader(0))));
    assert!(matches!(walk(&[b'x'; 2048], 512), Err(Error::BadHeader(0))));
    assert!(matches!(
        walk(&backup(b"[]"), 100),
        Err(Error::BadManifest(_))
    ));
    assert!(matches!(walk(&[0; 1024], 100), Err(Error::NoManifest)));
}

#[test]
fn missing_home_assistant_archive_is_refused() {
    let manifest = br#"{"slug": "abc", "name": "n", "date": "2026-11-20T00:00:00+00:00",
        "homeassistant": {"version": "2026.11.0"}}"#;
    let first = entry(b'0', "./backup.json", manifest);
    for (name, is_there) in [
        ("./homeassistant.tar.gz", true),
        ("homeassistant.tgz", true),
        ("./homeassistant.tar", true),
        ("./ssl.tar.gz", false),
        ("./x/homeassistant.tar.gz", false),
    ] {
        let walked = walk(
            &[&*first, &entry(b'0', name, b"data"), &[0; 1024]].concat(),
            512,
        );
        assert_eq!(walked.is_ok(), is_there, "{name}: {walked:?}");
        assert!(
            is_there || matches!(walked, Err(Error::NoHomeAssistant)),
            "{name}: {walked:?}"
        );
    }
}

#[test]
fn oversized_manifest_or_pax_header_is_refused_by_its_header() {
    let header = head(b'0', "backup.json", 1 << 40);
    assert!(matches!(
        walk(&header, 512),
        Err(Error::TooLarge("backup.json", ..))
    ));
    for kind in [b'x', b'g', b'X'] {
        assert!(matches!(
            walk(&head(kind, "pax", 1 << 30), 512),
            Err(Error::TooLarge("pax header", ..))
        ));
    }
}

#[test]
fn pax_size_overrides_header_size() {
    let tar = [
        pax("12 size=600\n"),
        entry(b'0', "big", &[1; 600]),
        backup(MANIFEST),
    ]
    .concat();
    let mut without = tar.clone();
    // The pax size replaces the header's own.
    without[1024..1536].copy_from_slice(&head(b'0', "big", 0));
    for tar in [tar, without] {
        assert_eq!(walk(&tar, 333).unwrap().backup_id(), "abc");
    }
}

#[test]
fn manifest_is_found_under_every_form_of_its_name() {
    for before in [
        pax("22 path=./backup.json\n"),
        entry(b'L', "././@LongLink", b"./backup.json\0"),
    ] {
        let tar = [before, entry(b'0', "something", MANIFEST), vec![0; 1024]].concat();
        assert_eq!(walk(&tar, 512).unwrap().backup_id(), "abc");
    }
    for before in [
        pax("9 path=a\n"),
        entry(b'L', "././@LongLink", &[b'x'; 5000]),
    ] {
        let tar = [
            before,
            entry(b'0', "./backup.json", MANIFEST),
            vec![0; 1024],
        ]
        .concat();
        assert!(
            matches!(walk(&tar, 512), Err(Error::NoManifest)),
            "its name is another one"
        );
    }
    let mut header = Written::new_ustar();
    header.set_path("backup.json").unwrap();
    header.as_ustar_mut().unwrap().prefix[0] = b'.';
    header.set_size(MANIFEST.len() as u64);
    header.set_cksum();
    let tar = [header.as_bytes(), &padded(MANIFEST)[..], &[0; 1024]].concat();
    assert_eq!(
        walk(&tar, 512).unwrap().backup_id(),
        "abc",
        "half of the name is in the prefix"
    );
}

#[test]
fn ambiguous_entries_are_refused() {
    let (one, two) = (
        entry(b'0', "./backup.json", MANIFEST),
        entry(b'0', "backup.json", MANIFEST),
    );
    assert!(matches!(
        walk(&[&*one, &two].concat(), 512),
        Err(Error::TwoManifests)
    ));
    let name = || entry(b'L', "././@LongLink", b"./backup.json\0");
    for (what, tar) in [
        ("a folder with data", entry(b'5', "./backup.json", MANIFEST)),
        ("a link with data", entry(b'2', "x", b"data")),
        ("an old folder with data", entry(0, "x/", b"data")),
        (
            "a link that a pax header gives data",
            [pax("11 size=60\n"), entry(b'1', "x", b"")].concat(),
        ),
        ("a sparse file", entry(b'S', "x", b"data")),
        (
            "a sparse file of the newer kind",
            [pax("22 GNU.sparse.major=1\n"), one.clone()].concat(),
        ),
        (
            "a pax header that cannot be read",
            [pax("99 size=600\n"), one.clone()].concat(),
        ),
        (
            "a pax header for all",
            [entry(b'g', "pax", b"11 size=60\n"), one.clone()].concat(),
        ),
        (
            "two pax headers",
            [pax("11 size=60\n"), pax("11 size=61\n")].concat(),
        ),
        ("two names", [name(), name()].concat()),
        ("a name of each kind", [name(), pax("9 path=a\n")].concat()),
    ] {
        let tar = [&*tar, &one, &[0; 1024]].concat();
        assert!(
            matches!(walk(&tar, 512), Err(Error::Unusual(_))),
            "{what}: {:?}",
            walk(&tar, 512)
        );
    }
    let link = [entry(b'2', "backup.json", b""), backup(MANIFEST)].concat();
    assert_eq!(
        walk(&link, 512).unwrap().backup_id(),
        "abc",
        "a link of that name is no manifest"
    );
}

#[test]
fn file_is_read_like_a_stream() {
    let large = entry(b'0', "./large", &vec![1; 200_000]);
    let tar = [large, backup(MANIFEST)].concat();
    let read = |tar: &[u8]| {
        super::super::read_contents(std::io::Cursor::new(tar)).map(|contents| contents.manifest)
    };
    assert_eq!(read(&tar).unwrap().backup_id(), "abc");
    assert!(matches!(read(&tar[..100_000]), Err(Error::Truncated)));
    assert!(matches!(
        read(&tar[..tar.len() - 1024]),
        Err(Error::Truncated)
    ));
    assert!(matches!(read(b"no tar"), Err(Error::Truncated)));
    assert!(matches!(
        read(&head(b'0', "huge", (1 << 36) - 1)),
        Err(Error::Truncated)
    ));
    // A name of gigabytes is not kept in memory.
    assert!(matches!(
        read(&head(b'L', "././@LongLink", (1 << 36) - 1)),
        Err(Error::Truncated)
    ));
}
