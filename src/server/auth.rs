//! The gate that API and page share: the token, allowed addresses, and throttling of wrong tokens.
//!
//! Clients of the API send the token as a Bearer token. The page admits some addresses without it and asks all others with
//! Basic authentication, which browsers keep to the host it was entered for.
//!
//! An allowed address alone is open to DNS rebinding: another site resolves its own name to this machine, and the browser
//! treats the agent as part of that site. Such a request has that name in `Host`, so an allowed client must name an IP
//! address or localhost there. Supervisor is no browser and forwards whatever `Host` Home Assistant is reached by.

mod throttle;

use std::net::IpAddr;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, HOST, HeaderMap};
use axum::http::uri::Authority;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::ConstantTimeEq;

use crate::config::Secret;
use throttle::Throttle;

/// Where a request comes from. The server adds it to the extensions of each request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Peer(
    /// The client's address; a client of the Unix socket has none.
    pub Option<IpAddr>,
);

/// Whether the connection is confidential, so a Unix socket or TLS. The server adds it to the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confidential(pub bool);

impl Peer {
    /// Returns the client of a request.
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions().get().copied().unwrap_or_default()
    }
}

/// Addresses that may open the page without the token.
#[derive(Debug, Default)]
pub struct Allowed {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether all of them are Supervisor, which is no browser and keeps the `Host` of Home Assistant.
    pub are_supervisor: bool,
}

/// Decides which requests API and page serve.
#[derive(Debug)]
pub struct Gate {
    token: Option<Token>,
    allowed: Allowed,
    throttle: Throttle,
}

/// Why a token does not admit a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenRefusal {
    Missing,
    Wrong,
    /// Too many wrong tokens came from the address.
    Throttled,
}

/// Why the page refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageRefusal {
    /// The client's address is not allowed, and no token is configured.
    Address,
    /// The address is allowed, `Host` is not, and no token is configured.
    Host,
    Token(TokenRefusal),
}

impl Gate {
    /// Creates the gate. Without a token, the API is open to every client that can connect.
    #[must_use]
    pub fn new(token: Option<&Secret>, allowed: Allowed) -> Self {
        Self {
            token: token.map(Token::new),
            allowed,
            throttle: Throttle::default(),
        }
    }

    /// Whether the page is shown through Supervisor's ingress.
    pub(crate) fn is_behind_supervisor(&self) -> bool {
        self.allowed.are_supervisor
    }

    /// Whether a request to the page came through Supervisor's ingress, which serves every user of Home Assistant.
    pub(crate) fn is_from_ingress(&self, peer: Peer) -> bool {
        self.allowed.are_supervisor && self.is_allowed(peer)
    }

    fn is_allowed(&self, peer: Peer) -> bool {
        peer.0
            .is_some_and(|address| self.allowed.addresses.contains(&address))
    }

    /// Admits a request to the API.
    pub(crate) fn check_api(&self, peer: Peer, headers: &HeaderMap) -> Result<(), TokenRefusal> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        self.refuse_throttled(peer)?;
        let given = bearer(headers);
        // A client of the API knows that it needs a token, so a missing one counts as a wrong one.
        self.check(token, peer, given.unwrap_or_default())
            .map_err(|refusal| match refusal {
                TokenRefusal::Wrong if given.is_none() => TokenRefusal::Missing,
                refusal => refusal,
            })
    }

    /// Admits a request to the page.
    pub(crate) fn check_page(&self, peer: Peer, headers: &HeaderMap) -> Result<(), PageRefusal> {
        let is_allowed = self.is_allowed(peer);
        if is_allowed && (self.allowed.are_supervisor || has_literal_host(headers)) {
            return Ok(());
        }
        let Some(token) = self.token.as_ref().filter(|_| peer.0.is_some()) else {
            return Err(if is_allowed {
                PageRefusal::Host
            } else {
                PageRefusal::Address
            });
        };
        self.check_basic(token, peer, headers)
            .map_err(PageRefusal::Token)
    }

    /// A browser asks without credentials first, so missing ones are not a guess.
    fn check_basic(
        &self,
        token: &Token,
        peer: Peer,
        headers: &HeaderMap,
    ) -> Result<(), TokenRefusal> {
        self.refuse_throttled(peer)?;
        let given = basic_password(headers).ok_or(TokenRefusal::Missing)?;
        self.check(token, peer, &given)
    }

    fn refuse_throttled(&self, peer: Peer) -> Result<(), TokenRefusal> {
        if self.throttle.is_throttled(peer) {
            return Err(TokenRefusal::Throttled);
        }
        Ok(())
    }

    fn check(&self, token: &Token, peer: Peer, given: &[u8]) -> Result<(), TokenRefusal> {
        if token.matches(given) {
            self.throttle.trust(peer);
            return Ok(());
        }
        Err(if self.throttle.count_wrong(peer) {
            TokenRefusal::Throttled
        } else {
            TokenRefusal::Wrong
        })
    }
}

/// The hash of the token. Hashes make both sides of the comparison equally long.
#[derive(Debug)]
struct Token(Digest);

impl Token {
    fn new(secret: &Secret) -> Self {
        Self(digest(&SHA256, secret.expose().as_bytes()))
    }

    /// Compares in constant time.
    fn matches(&self, given: &[u8]) -> bool {
        self.0
            .as_ref()
            .ct_eq(digest(&SHA256, given).as_ref())
            .into()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers
        .get(AUTHORIZATION)?
        .as_bytes()
        .strip_prefix(b"Bearer ")
}

/// Returns the password of Basic authentication; any user name is accepted.
fn basic_password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64
        .decode(credentials.trim())
        .ok()
        .filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// Whether `Host` is an IP address or localhost, which no foreign site can make its own.
fn has_literal_host(headers: &HeaderMap) -> bool {
    let authority = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host();
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        host.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests;
