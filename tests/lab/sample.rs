//! Backups as Home Assistant creates them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256, digest};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use serde_json::{Value, json};

use super::noise;

pub(crate) const DATE: &str = "2026-11-20T04:47:12.345678+01:00";

/// A backup: announcement and tar.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) metadata: Value,
    pub(crate) tar: Bytes,
}

impl Sample {
    /// A backup whose tar has exactly `size` bytes.
    pub(crate) fn new(id: &str, name: &str, size: u64) -> Self {
        let extra = json!({"instance_id": "abc", "with_automatic_settings": false});
        let manifest = json!({
            "slug": id, "name": name, "date": DATE, "type": "partial", "version": 2, "compressed": true,
            "folders": ["homeassistant", "media"], "addons": [], "extra": extra, "protected": false,
            "homeassistant": {"version": "2026.11.0", "exclude_database": false},
        });
        let metadata = json!({
            "addons": [{"name": "Mosquitto", "slug": "core_mosquitto", "version": "6.4"}],
            "backup_id": id, "date": DATE, "database_included": true, "extra_metadata": extra, "folders": ["media"],
            "homeassistant_included": true, "homeassistant_version": "2026.11.0", "name": name, "protected": false,
            "size": size,
        });
        Self {
            metadata,
            tar: tar(id, &manifest, usize::try_from(size).unwrap()).into(),
        }
    }

    /// A small backup, uploaded in one request.
    pub(crate) fn small(id: &str) -> Self {
        Self::new(id, "Nightly", 40_960)
    }

    pub(crate) fn id(&self) -> &str {
        self.metadata["backup_id"].as_str().unwrap()
    }

    pub(crate) fn size(&self) -> u64 {
        self.tar.len() as u64
    }

    /// HA's `suggested_filename`: white space becomes `_`, slashes stay.
    pub(crate) fn filename(&self) -> String {
        let name = self.metadata["name"].as_str().unwrap();
        let text = format!("{name} 2026-11-20 04.47 12345678");
        format!(
            "{}.tar",
            text.split_whitespace().collect::<Vec<_>>().join("_")
        )
    }

    /// A stem unique to the backup.
    pub(crate) fn stem_with_id(&self) -> String {
        format!("{}_{}", self.stem(), self.id())
    }

    pub(crate) fn stem(&self) -> String {
        self.filename().strip_suffix(".tar").unwrap().to_owned()
    }

    pub(crate) fn crc32(&self) -> String {
        format!("{:08x}", checksum(CrcAlgorithm::Crc32IsoHdlc, &self.tar))
    }

    pub(crate) fn sha256(&self) -> String {
        hex(digest(&SHA256, &self.tar).as_ref())
    }

    /// The same backup announced with another size.
    pub(crate) fn announced_as(mut self, size: u64) -> Self {
        self.metadata["size"] = size.into();
        self
    }

    /// The same announcement with other bytes.
    pub(crate) fn with_tar(mut self, tar: impl Into<Bytes>) -> Self {
        self.tar = tar.into();
        self
    }
}

/// Writes a backup of exactly `size` bytes, a multiple of 512, without equal blocks; returns its
/// SHA-256.
pub(crate) fn write_large(file: &Path, id: &str, size: u64) -> String {
    let small = Sample::new(id, "Large", 10_240);
    let mut hash = Context::new(&SHA256);
    let mut out = BufWriter::new(File::create(file).unwrap());
    let mut write = |bytes: &[u8]| {
        hash.update(bytes);
        out.write_all(bytes).unwrap();
    };
    // One large entry precedes those of a small backup.
    let data = size - small.size() - 512;
    let mut header = tar::Header::new_ustar();
    header.set_path("./media.tar.gz").unwrap();
    header.set_size(data);
    header.set_cksum();
    write(header.as_bytes());
    let mut block = noise(id, 64 * 1024);
    for start in (0..data).step_by(block.len()) {
        block[..8].copy_from_slice(&start.to_le_bytes());
        write(&block[..usize::try_from(data - start).unwrap().min(block.len())]);
    }
    write(&small.tar);
    out.flush().unwrap();
    hex(hash.finish().as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// HA core's part first, `backup.json` last, as Supervisor writes it; padded with zeros to the
/// size.
fn tar(seed: &str, manifest: &Value, size: usize) -> Vec<u8> {
    let manifest = manifest.to_string();
    let around = 512 + 1024 + 512 + manifest.len().next_multiple_of(512) + 1024;
    let room = size.checked_sub(around).expect("too small for a tar") / 512 * 512;
    let mut tar = tar::Builder::new(Vec::with_capacity(size));
    for (name, data) in [
        ("./homeassistant.tar.gz", noise(seed, room)),
        ("./media.tar.gz", b"media".to_vec()),
        ("./backup.json", manifest.into_bytes()),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, data.as_slice()).unwrap();
    }
    let mut bytes = tar.into_inner().unwrap();
    assert!(bytes.len() <= size);
    bytes.resize(size, 0);
    bytes
}
