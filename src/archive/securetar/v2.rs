//! Version 2: AES-128-CBC with PKCS#7 padding. Nothing tells a changed byte.

use std::fmt;
use std::io::{self, Read};

use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::header::{AES_BLOCK, HeaderV2};
use super::{Error, Piece};

/// Bytes that are decrypted at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// Key and first vector.
pub(super) struct Key {
    pub(super) key: Zeroizing<[u8; 16]>,
    pub(super) vector: [u8; 16],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Decrypts whole blocks in place; `vector` is the encrypted block before them.
    pub(super) fn decrypt(&self, vector: &[u8; 16], blocks: &mut [u8]) -> Result<(), Error> {
        // Neither fails for whole blocks and a key of this length.
        let key = UnboundCipherKey::new(&AES_128, self.key.as_slice());
        let vector = DecryptionContext::Iv128(FixedLength::from(vector));
        key.and_then(DecryptingKey::cbc)
            .and_then(|key| key.decrypt(blocks, vector).map(drop))
            .map_err(|_| Error::BadHeader)
    }
}

/// Reader of the plain bytes.
#[derive(Debug)]
pub(super) struct Reader<R> {
    source: R,
    key: Key,
    /// The encrypted block before the next piece.
    vector: [u8; 16],
    /// Encrypted bytes to read, and those read, with the header.
    left: u64,
    offset: u64,
    padding: usize,
    piece: Piece,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(source: R, key: Key, header: &HeaderV2) -> Self {
        let padding = AES_BLOCK - header.plain_size % AES_BLOCK;
        Self {
            source,
            vector: key.vector,
            key,
            left: header.plain_size + padding,
            offset: 48,
            padding: usize::try_from(padding).unwrap_or_default(),
            piece: Piece::default(),
        }
    }

    fn next(&mut self) -> io::Result<()> {
        let count = usize::try_from(self.left.min(PIECE_BYTES)).unwrap_or_default();
        self.piece.fill(&mut self.source, count)?;
        let before = self.vector;
        if let Some(last) = self.piece.bytes.last_chunk() {
            self.vector = *last;
        }
        self.key.decrypt(&before, &mut self.piece.bytes)?;
        self.left -= count as u64;
        let mut plain = count;
        if self.left == 0 {
            plain -= self.padding;
            let is_padding = |&byte: &u8| usize::from(byte) == self.padding;
            if !self.piece.bytes[plain..].iter().all(is_padding) {
                return Err(Error::Damaged(self.offset).into());
            }
        }
        self.offset += count as u64;
        self.piece.ready = 0..plain;
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.ready.is_empty() && self.left > 0 && !buffer.is_empty() {
            self.next()?;
        }
        Ok(self.piece.take(buffer))
    }
}
