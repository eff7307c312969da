//! Version 3: libsodium's `crypto_secretstream_xchacha20poly1305`, in chunks of 1 MiB and without its rekeying.
//!
//! Each chunk has its own nonce: its number, and the stream's nonce combined by XOR with the start of every earlier chunk's tag. Those
//! tags are not encrypted, so a chunk can be decrypted without its predecessors' content. Source of the construction:
//! libsodium's documentation, "Encrypted streams".

use std::fmt;
use std::io::{self, Read};

use chacha20::cipher::{KeyInit, KeyIvInit, StreamCipher};
use chacha20::{ChaCha20, R20, hchacha};
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::header::{CHUNK_BYTES, HeaderV3, OVERHEAD_BYTES};
use super::key::StreamKey;
use super::{Error, Piece};

const TAG_BYTES: usize = 16;

/// Kind of a chunk that others follow.
const MESSAGE: u8 = 0;
/// Kind of the last chunk.
const FINAL: u8 = 3;

/// Where the stream is: decrypts one chunk after another.
#[derive(Clone)]
pub(super) struct Stream {
    key: StreamKey,
    /// Number of the next chunk, from 1 on.
    counter: u32,
    nonce: [u8; 8],
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream at chunk {}", self.counter)
    }
}

impl Stream {
    pub(super) fn new(key: &StreamKey, header: &[u8; 24]) -> Self {
        let (salt, nonce) = header.split_at(16);
        let salt: [u8; 16] = salt.try_into().unwrap_or_default();
        let key = hchacha::<R20>(&(**key).into(), &salt.into());
        Self {
            key: Zeroizing::new(key.into()),
            counter: 1,
            nonce: nonce.try_into().unwrap_or_default(),
        }
    }

    /// Decrypts a chunk in place. Returns its kind; its content lies between the first byte and the tag.
    ///
    /// `None` when its tag is wrong: the chunk was changed, or is not the next one.
    pub(super) fn open(&mut self, chunk: &mut [u8]) -> Option<u8> {
        let (kind, rest) = chunk.split_first_mut()?;
        let (content, tag) = rest.split_last_chunk_mut::<TAG_BYTES>()?;
        let mut cipher = self.cipher();
        let mut block = Zeroizing::new([0; 64]);
        cipher.apply_keystream(block.as_mut_slice());
        let (key, _) = block.split_first_chunk::<32>()?;
        let hash = Poly1305::new(&(*key).into());
        let mut block = Zeroizing::new([0; 64]);
        block[0] = *kind;
        cipher.apply_keystream(block.as_mut_slice());
        let plain_kind = std::mem::replace(&mut block[0], *kind);
        if !bool::from(authenticate(hash, &block, content).ct_eq(tag)) {
            return None;
        }
        cipher.apply_keystream(content);
        self.skip(tag)?;
        Some(plain_kind)
    }

    /// Encrypts a chunk.
    #[cfg(test)]
    pub(super) fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut cipher = self.cipher();
        let mut block = [0; 64];
        cipher.apply_keystream(&mut block);
        let (key, _) = block.split_first_chunk::<32>().unwrap();
        let hash = Poly1305::new(&(*key).into());
        let mut block = [0; 64];
        block[0] = kind;
        cipher.apply_keystream(&mut block);
        let mut chunk = vec![block[0]];
        chunk.extend(content);
        cipher.apply_keystream(&mut chunk[1..]);
        let tag = authenticate(hash, &block, &chunk[1..]);
        self.skip(&tag).unwrap();
        chunk.extend(tag);
        chunk
    }

    /// Continues after a chunk with this tag, without its content. `None` where the counter would start again, which rekeys
    /// the stream.
    pub(super) fn skip(&mut self, tag: &[u8; TAG_BYTES]) -> Option<()> {
        for (byte, mixed) in self.nonce.iter_mut().zip(tag) {
            *byte ^= mixed;
        }
        self.counter = self.counter.checked_add(1)?;
        Some(())
    }

    fn cipher(&self) -> ChaCha20 {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.counter.to_le_bytes());
        nonce[4..].copy_from_slice(&self.nonce);
        ChaCha20::new(&(*self.key).into(), &nonce.into())
    }
}

/// Returns the tag of an encrypted chunk: over the block with its kind, its content, and their lengths.
fn authenticate(mut hash: Poly1305, block: &[u8; 64], content: &[u8]) -> [u8; TAG_BYTES] {
    let (blocks, rest) = as_blocks(content);
    hash.update(as_blocks(block).0);
    hash.update(blocks);
    let mut end = rest.to_vec();
    // libsodium pads by the length itself, not to a whole block.
    end.resize(rest.len() + content.len() % 16, 0);
    end.extend(0_u64.to_le_bytes());
    end.extend((64 + content.len() as u64).to_le_bytes());
    hash.compute_unpadded(&end).into()
}

fn as_blocks(bytes: &[u8]) -> (&[poly1305::Block], &[u8]) {
    poly1305::Block::slice_as_chunks(bytes)
}

/// Reader of the plain bytes.
#[derive(Debug)]
pub(super) struct Reader<R> {
    source: R,
    stream: Stream,
    /// Encrypted bytes to read, and those read, with the header.
    left: u64,
    offset: u64,
    piece: Piece,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(source: R, key: &StreamKey, header: &HeaderV3) -> Self {
        let chunks = header.plain_size.div_ceil(CHUNK_BYTES).max(1);
        Self {
            source,
            stream: Stream::new(key, &header.stream_header),
            left: header.plain_size + chunks * OVERHEAD_BYTES,
            offset: 136,
            piece: Piece::default(),
        }
    }

    fn next(&mut self) -> io::Result<()> {
        let count = self.left.min(CHUNK_BYTES + OVERHEAD_BYTES);
        let count = usize::try_from(count).unwrap_or_default();
        self.piece.fill(&mut self.source, count)?;
        self.left -= count as u64;
        let expected = if self.left == 0 { FINAL } else { MESSAGE };
        if self.stream.open(&mut self.piece.bytes) != Some(expected) {
            return Err(Error::Damaged(self.offset).into());
        }
        self.offset += count as u64;
        self.piece.ready = 1..count - TAG_BYTES;
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
