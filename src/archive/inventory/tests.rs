use serde_json::{Value, json};

use super::super::{Contents, Walker};
use super::*;

const GZIP: &[u8] = b"\x1f\x8b\x08\0rest";
const SECURE: &[u8] = b"SecureTar\x03rest";

/// Names and contents of a tar's entries.
type Entries<'e> = &'e [(&'e str, &'e [u8])];

/// Makes the tar of a backup from the fields of its manifest and its entries.
fn tar(manifest: &Value, entries: Entries) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut all = json!({"slug": "abc", "name": "n", "date": "2026-11-20T00:00:00+00:00"});
    all.as_object_mut()
        .unwrap()
        .append(manifest.clone().as_object_mut().unwrap());
    let all = all.to_string();
    for (name, data) in entries.iter().chain([&("./backup.json", all.as_bytes())]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, name, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

fn inventory(manifest: &Value, entries: Entries) -> Option<Box<Inventory>> {
    let mut walker = Walker::default();
    tar(manifest, entries)
        .chunks(100)
        .try_for_each(|piece| walker.push(piece))
        .unwrap();
    let Contents { inventory, .. } = walker.finish().unwrap();
    inventory
}

/// A manifest with Home Assistant, an add-on and a folder.
fn full(protected: bool) -> Value {
    json!({"protected": protected, "homeassistant": {"version": "2026.11.0"},
        "addons": [{"slug": "core_ssh"}], "folders": ["addons/local"]})
}

#[test]
fn complete_backups_are_complete() {
    let mut ustar = [0; 600];
    ustar[257..262].copy_from_slice(b"ustar");
    let cases: [(Value, Entries); 7] = [
        (
            full(false),
            &[
                ("./homeassistant.tar.gz", GZIP),
                ("./core_ssh.tar.gz", GZIP),
                ("./addons_local.tar.gz", GZIP),
                ("./supervisor.tar.gz", GZIP),
            ],
        ),
        (
            full(true),
            &[
                ("./homeassistant.tar.gz", SECURE),
                ("./core_ssh.tar.gz", SECURE),
                ("./addons_local.tar.gz", SECURE),
            ],
        ),
        // The first format of encrypted archives has no mark.
        (
            full(true),
            &[
                ("homeassistant.tgz", b"16 random bytes."),
                ("core_ssh.tar", b"16 random bytes."),
                ("addons_local.tar", b"16 random bytes."),
            ],
        ),
        // Not compressed; a tar without entries.
        (
            full(false),
            &[
                ("./homeassistant.tar", &ustar),
                ("./core_ssh.tar", &ustar),
                ("./addons_local.tar", &[0; 10_240]),
            ],
        ),
        // Another type of file, and a folder of an old backup that is Home Assistant's own.
        (
            json!({"folders": ["homeassistant"]}),
            &[("./homeassistant.tar.gz", GZIP), ("./docker.json", b"{}")],
        ),
        // Names with dots, and one that needs an extension of the header.
        (
            json!({"addons": [{"slug": "a0d7b954.v1.2"}, {"slug": "x".repeat(200)}]}),
            &[
                ("./a0d7b954.v1.2.tar.gz", GZIP),
                (&format!("{}.tar.gz", "x".repeat(200)), GZIP),
            ],
        ),
        (json!({"addons": [], "folders": []}), &[]),
    ];
    for (manifest, entries) in cases {
        let found = inventory(&manifest, entries).unwrap();
        let complete = Inventory {
            complete: true,
            ..Inventory::default()
        };
        assert_eq!(*found, complete, "{manifest} {entries:?}");
    }
}

#[test]
fn each_fault_is_named() {
    let cases: [(bool, Entries, Value); 9] = [
        // What Home Assistant does to the folder of local add-ons.
        (
            true,
            &[
                ("./homeassistant.tar.gz", SECURE),
                ("./core_ssh.tar.gz", SECURE),
            ],
            json!({"missing": ["addons_local"]}),
        ),
        (
            true,
            &[("./homeassistant.tar.gz", SECURE)],
            json!({"missing": ["addons_local", "core_ssh"]}),
        ),
        // The manifest's name is not the archive's.
        (
            true,
            &[
                ("./homeassistant.tar.gz", SECURE),
                ("./core_ssh.tar.gz", SECURE),
                ("./addons/local.tar.gz", SECURE),
            ],
            json!({"missing": ["addons_local"], "unexpected": ["addons/local"]}),
        ),
        (
            false,
            &[
                ("./homeassistant.tar.gz", b""),
                ("./core_ssh.tar.gz", GZIP),
                ("./addons_local.tar.gz", b""),
            ],
            json!({"empty": ["addons_local", "homeassistant"]}),
        ),
        (
            true,
            &[
                ("./homeassistant.tar.gz", SECURE),
                ("./core_ssh.tar.gz", GZIP),
                ("./addons_local.tar", &[0; 1024]),
            ],
            json!({"not_encrypted": ["addons_local", "core_ssh"]}),
        ),
        (
            false,
            &[
                ("./homeassistant.tar.gz", GZIP),
                ("./core_ssh.tar.gz", GZIP),
                ("./addons_local.tar.gz", SECURE),
            ],
            json!({"encrypted": ["addons_local"]}),
        ),
        // Supervisor's own archive counts, too, if it is there.
        (
            true,
            &[
                ("./homeassistant.tar.gz", SECURE),
                ("./core_ssh.tar.gz", SECURE),
                ("./addons_local.tar.gz", SECURE),
                ("./supervisor.tar.gz", GZIP),
            ],
            json!({"not_encrypted": ["supervisor"]}),
        ),
        // A restore takes one of two, and no restore takes a foreign one.
        (
            false,
            &[
                ("./homeassistant.tar.gz", GZIP),
                ("./core_ssh.tar.gz", GZIP),
                ("./core_ssh.tar.gz", GZIP),
                ("./addons_local.tar.gz", GZIP),
                ("./b1946ac9_nextcloud.tar.gz", GZIP),
            ],
            json!({"unexpected": ["core_ssh", "b1946ac9_nextcloud"]}),
        ),
        // An archive is a file.
        (
            false,
            &[
                ("./homeassistant.tar.gz", GZIP),
                ("./core_ssh.tar.gz", GZIP),
                ("./addons_local.tar.gz/x", GZIP),
            ],
            json!({"missing": ["addons_local"]}),
        ),
    ];
    for (protected, entries, expected) in cases {
        let mut full_expected =
            json!({"missing": [], "empty": [], "not_encrypted": [], "encrypted": []});
        let is_complete = expected
            .as_object()
            .unwrap()
            .keys()
            .all(|key| key == "unexpected");
        full_expected["complete"] = json!(is_complete);
        for (key, names) in expected.as_object().unwrap() {
            full_expected[key] = names.clone();
        }
        let found = inventory(&full(protected), entries).unwrap();
        assert_eq!(
            serde_json::to_value(found).unwrap(),
            full_expected,
            "{entries:?}"
        );
    }
}

#[test]
fn inventory_is_bounded() {
    let many: Vec<_> = (0..=MAX_ARCHIVES).map(|n| format!("a{n}.tar")).collect();
    let entries: Vec<_> = many.iter().map(|name| (name.as_str(), GZIP)).collect();
    let none = json!({});
    assert_eq!(inventory(&none, &entries), None, "too many archives");
    let found = inventory(&none, &entries[1..]).unwrap();
    assert_eq!(found.unexpected.len(), MAX_LISTED);
    assert_eq!(found.unexpected.last().unwrap(), "…");
    let addons: Vec<_> = (0..400)
        .map(|n| json!({"slug": format!("{n}{}", "ä".repeat(5000))}))
        .collect();
    let found = inventory(&json!({"addons": addons}), &[]).unwrap();
    let written = serde_json::to_string(&found).unwrap();
    assert!(
        !found.complete && written.len() < 25_000,
        "{}",
        written.len()
    );
}
