//! Whether the provider verified the checksum of content: then its answer repeats it.
//!
//! Source: the response headers of `PutObject` and `UploadPart` in Amazon's API reference. `rclone serve s3` 1.75 and
//! `JuiceFS` 1.4 verify none.

use super::checksum::{Header, Verification};
use super::client::Client;
use super::dialect::Dialect;
use super::request::Request;
use super::transport::Reply;
use crate::config::Encryption;
use crate::provider::Checksum;
use crate::store::error::{AtOnce, Error, Outcome};
use crate::store::retry::Call;

impl Client {
    /// Compares the checksum of content with the one that the provider repeats. One that repeats none, and was not seen to
    /// refuse wrong content, may have verified none: from then on the `ETag` is compared, beginning with this one, or the
    /// signature covers the content.
    pub(super) fn verified(
        &self,
        call: &Call,
        request: &Request,
        reply: Reply,
        dialect: &Dialect,
    ) -> Result<Reply, Error> {
        let Some(header) = Header::of(dialect.checksum).filter(|_| request.has_content()) else {
            return Ok(reply);
        };
        if let Some(repeated) = reply.header(header.name) {
            if repeated == header.value(request) {
                return Ok(reply);
            }
            let why = "the provider received content with another checksum";
            return Err(Error::could_not(&call.action, Outcome::Damaged, why));
        }
        if self.proof.get() == Some(Verification::Proven) {
            return Ok(reply);
        }
        match self.settings.encryption {
            // No ETag is an MD5.
            Encryption::Kms(_) | Encryption::Customer(_) => Err(self.sign_content(call)),
            Encryption::None | Encryption::Aes256 => {
                self.use_checksum(Checksum::Off);
                Ok(reply)
            }
        }
    }

    /// Lets the signature cover content from now on. Returns the error that repeats a request.
    pub(super) fn sign_content(&self, call: &Call) -> Error {
        self.use_checksum(Checksum::Sha256);
        Error {
            at_once: Some(AtOnce::with(())),
            ..Error::refused(&call.action, "the provider verifies no checksum")
        }
    }

    fn use_checksum(&self, checksum: Checksum) {
        let known = self.dialect();
        let learned = Dialect {
            checksum,
            ..known.clone()
        };
        self.remember(&known, &learned);
    }
}
