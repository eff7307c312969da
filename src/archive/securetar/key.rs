//! Keys, derived from a password and an archive's header.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::digest::{SHA256, digest};
use blake2::Blake2bMac;
use blake2::digest::FixedOutput;
use blake2::digest::consts::U32;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::header::{HeaderV2, HeaderV3};
use super::{Error, is_tar, v2};
use crate::config::Secret;

/// Passes of Argon2id in version 3.
const PASSES: u32 = 8;

/// Memory of Argon2id in version 3, in KiB.
const MEMORY_KIB: u32 = 16 * 1024;

/// What BLAKE2b mixes into each key of version 3.
const PERSONALISATION: &[u8] = b"SecureTarv3";

/// Rounds of SHA-256 in version 2.
const ROUNDS: usize = 100;

/// A key of version 3.
pub(super) type StreamKey = Zeroizing<[u8; 32]>;

/// The password of a backup, which Home Assistant calls encryption key, with the root key of its archives.
pub struct Password {
    password: Secret,
    /// The last root key and its salt: Argon2 takes a tenth of a second, and the archives of a backup mostly share a salt.
    root: Option<([u8; 16], StreamKey)>,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl Password {
    /// Wraps a password.
    #[must_use]
    pub const fn new(password: Secret) -> Self {
        Self {
            password,
            root: None,
        }
    }

    /// Checks whether the password opens an archive that begins with `head`, in a tenth of a second.
    ///
    /// # Errors
    /// [`Error::WrongPassword`].
    pub fn check(&mut self, header: &super::Header, head: &[u8]) -> Result<(), Error> {
        match header {
            super::Header::V2(inner) => {
                let body = head.get(header.length()..).unwrap_or_default();
                self.open_v2(inner, body).map(drop)
            }
            super::Header::V3(inner) => self.open_v3(inner).map(drop),
        }
    }

    /// Returns the key and the first vector of version 2. `body` is what follows the header: a right key decrypts it to the
    /// start of a tar.
    pub(super) fn open_v2(&self, header: &HeaderV2, body: &[u8]) -> Result<v2::Key, Error> {
        let key = self.key_v2(header);
        let mut start = Zeroizing::new(body[..body.len() / 16 * 16].to_vec());
        key.decrypt(&key.vector, &mut start)?;
        if is_tar(&start) {
            Ok(key)
        } else {
            Err(Error::WrongPassword)
        }
    }

    /// Returns the key and the first vector of version 2, right or wrong.
    pub(super) fn key_v2(&self, header: &HeaderV2) -> v2::Key {
        let hashed = rounds(self.password.expose().as_bytes());
        let mut key = Zeroizing::new([0; 16]);
        key.copy_from_slice(&hashed[..16]);
        let salted = Zeroizing::new([key.as_slice(), &header.salt].concat());
        let mut vector = [0; 16];
        vector.copy_from_slice(&rounds(&salted)[..16]);
        v2::Key { key, vector }
    }

    /// Returns the key of version 3.
    pub(super) fn open_v3(&mut self, header: &HeaderV3) -> Result<StreamKey, Error> {
        let root = match &self.root {
            Some((salt, root)) if *salt == header.root_salt => root.clone(),
            _ => root_key(&self.password, &header.root_salt)?,
        };
        let validation = derive(&root, &header.validation_salt)?;
        if !bool::from(validation.as_slice().ct_eq(&header.validation_key)) {
            return Err(Error::WrongPassword);
        }
        let key = derive(&root, &header.stream_salt)?;
        self.root = Some((header.root_salt, root));
        Ok(key)
    }
}

fn rounds(data: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut hash = Zeroizing::new([0; 32]);
    hash.copy_from_slice(digest(&SHA256, data).as_ref());
    for _ in 1..ROUNDS {
        let next = digest(&SHA256, hash.as_slice());
        hash.copy_from_slice(next.as_ref());
    }
    hash
}

fn root_key(password: &Secret, salt: &[u8; 16]) -> Result<StreamKey, Error> {
    let mut key = Zeroizing::new([0; 32]);
    // Neither fails: the parameters are constants, and every password is short enough.
    let parameters = Params::new(MEMORY_KIB, PASSES, 1, Some(key.len()));
    let parameters = parameters.map_err(|_| Error::WrongPassword)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(password.expose().as_bytes(), salt, key.as_mut_slice())
        .map_err(|_| Error::WrongPassword)?;
    Ok(key)
}

fn derive(root: &StreamKey, salt: &[u8; 16]) -> Result<StreamKey, Error> {
    let hash =
        Blake2bMac::<U32>::new_with_salt_and_personal(Some(root.as_slice()), salt, PERSONALISATION);
    // The lengths are constants.
    let hash = hash.map_err(|_| Error::WrongPassword)?;
    Ok(Zeroizing::new(hash.finalize_fixed().into()))
}
