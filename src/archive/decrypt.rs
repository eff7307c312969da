//! Turns an encrypted backup into one that is not, as Home Assistant does.
//!
//! Source: `_decrypt_backup` in `homeassistant/components/backup/util.py`. That leaves an archive encrypted whose name it does
//! not expect, such as `addons_local.tar.gz`; here each encrypted archive is decrypted.

use std::io::{self, Cursor, Read, Write};

use serde_json::{Map, Value};
use tar::EntryType;

use super::entries::{Entries, Entry, EntryKind, padding};
use super::header::{BLOCK, Role};
use super::securetar::{self, Content, HEAD_BYTES, Password, Plain};
use super::walker::MAX_MANIFEST_BYTES;
use super::{Error, archive_name};

/// Limit for the names in a result.
const MAX_LISTED: usize = 100;

/// Largest size that a header's own field can hold.
const MAX_OCTAL: u64 = 0o777_7777_7777;

/// Bytes to whose multiple tools pad a tar.
const RECORD: u64 = 10_240;

/// Result of a decryption.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decrypted {
    /// Archives that were encrypted.
    pub count: u64,
    /// Names of those that are neither a tar nor encrypted, and were copied as they are.
    pub copied: Vec<String>,
}

/// Copies a backup, and decrypts its archives. It gets its end-of-archive mark only once the source ended without an error.
///
/// # Errors
/// Those of the source and of `to`; [`Error::Within`] names the archive that cannot be opened.
pub fn decrypt<R: Read, W: Write>(
    source: R,
    to: &mut W,
    password: &mut Password,
) -> Result<Decrypted, Error> {
    let mut entries = Entries::new(source);
    let mut to = Written { to, count: 0 };
    let mut decrypted = Decrypted::default();
    while let Some(entry) = entries.next_entry()? {
        let is_file = entry.kind == EntryKind::File;
        if is_file && Role::of(&entry.path) == Role::Manifest {
            let json = entries.content("backup.json", MAX_MANIFEST_BYTES)?;
            let mut manifest: Map<String, Value> = serde_json::from_slice(&json)?;
            manifest.insert("protected".to_owned(), Value::Bool(false));
            let json = serde_json::to_vec(&manifest)?;
            to.add(&entry, json.len() as u64, &mut json.as_slice())?;
        } else if is_file && entry.size > 0 && archive_name(&entry.path).is_some() {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let added = to.add_archive(&entry, &mut entries, password);
            match added.map_err(|error| error.within(&path))? {
                Some(is_encrypted) => decrypted.count += u64::from(is_encrypted),
                None if decrypted.copied.len() < MAX_LISTED => decrypted.copied.push(path),
                None => {}
            }
        } else {
            to.add(&entry, entry.size, &mut entries)?;
        }
    }
    // A download compares its SHA-256 at its end.
    entries.finish()?;
    to.end()?;
    Ok(decrypted)
}

struct Written<'w, W> {
    to: &'w mut W,
    count: u64,
}

impl<W: Write> Written<'_, W> {
    /// Adds an archive, decrypted. Returns whether it was encrypted; `None` when it is neither that nor a tar.
    fn add_archive<R: Read>(
        &mut self,
        entry: &Entry,
        content: &mut R,
        password: &mut Password,
    ) -> Result<Option<bool>, Error> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        content
            .by_ref()
            .take(HEAD_BYTES as u64)
            .read_to_end(&mut head)?;
        let is_unknown = matches!(Content::of(&head), Err(securetar::Error::Unknown));
        let mut all = Cursor::new(head).chain(content);
        if is_unknown {
            self.add(entry, entry.size, &mut all)?;
            return Ok(None);
        }
        let mut plain = Plain::open(all, entry.size, Some(password))?;
        let size = plain.size();
        self.add(entry, size, &mut plain)?;
        Ok(Some(plain.is_encrypted()))
    }

    /// Adds an entry with another content.
    fn add(&mut self, entry: &Entry, size: u64, content: &mut impl Read) -> Result<(), Error> {
        let mut records = Vec::new();
        if entry.is_long {
            records.extend(record("path", &entry.path));
        }
        if size > MAX_OCTAL {
            records.extend(record("size", size.to_string().as_bytes()));
        }
        if !records.is_empty() {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..14].copy_from_slice(b"././@PaxHeader");
            header.set_entry_type(EntryType::XHeader);
            header.set_size(records.len() as u64);
            header.set_cksum();
            self.put(header.as_bytes())?;
            self.put(&records)?;
            self.pad(records.len() as u64)?;
        }
        let mut header = tar::Header::from_byte_slice(&entry.block).clone();
        header.set_size(if size > MAX_OCTAL { 0 } else { size });
        header.set_cksum();
        self.put(header.as_bytes())?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = content.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            self.put(&buffer[..read])?;
        }
        self.pad(size)
    }

    fn end(&mut self) -> Result<(), Error> {
        self.put(&[0; 2 * BLOCK])?;
        let rest = self.count.next_multiple_of(RECORD) - self.count;
        self.put(&vec![0; usize::try_from(rest).unwrap_or_default()])?;
        self.to.flush().map_err(cannot_write)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = usize::try_from(padding(size)).unwrap_or_default();
        self.put(&[0; BLOCK][..padding])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.count += bytes.len() as u64;
        self.to.write_all(bytes).map_err(cannot_write)
    }
}

fn cannot_write(error: io::Error) -> Error {
    Error::Write("the plain backup".to_owned(), error)
}

/// Returns a pax record, whose length counts its own digits.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length < rest + length.to_string().len() {
        length += 1;
    }
    [
        length.to_string().as_bytes(),
        b" ",
        key.as_bytes(),
        b"=",
        value,
        b"\n",
    ]
    .concat()
}

#[cfg(test)]
mod tests;
