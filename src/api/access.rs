//! The token.

use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::Problem;
use super::attempts::{Attempts, Peer};
use crate::config::Secret;
use crate::error::{Error, Kind};

/// A token to compare with. Only its hash is kept, which also makes both sides of the comparison equally long.
#[derive(Debug, Clone)]
pub struct Token(Digest);

impl Token {
    /// Takes the token in.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(digest(&SHA256, secret.expose().as_bytes()))
    }

    /// Whether this is it; takes as long whatever is given.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        self.0
            .as_ref()
            .ct_eq(digest(&SHA256, given).as_ref())
            .into()
    }
}

/// Who is let through.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    token: Option<Token>,
    attempts: Attempts,
}

impl Guard {
    pub(super) fn new(token: Option<Token>) -> Self {
        Self {
            token,
            attempts: Attempts::default(),
        }
    }

    fn admits(&self, token: &Token, request: &Request) -> Result<(), Refusal> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .copied()
            .unwrap_or_default();
        if self.attempts.is_held(peer) {
            return Err(Refusal::TooMany);
        }
        let given = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if given.is_some_and(|given| token.is(given)) {
            self.attempts.right(peer);
            return Ok(());
        }
        if self.attempts.wrong(peer) {
            return Err(Refusal::TooMany);
        }
        Err(Refusal::Not(if given.is_none() {
            "missing"
        } else {
            "wrong"
        }))
    }
}

/// Why not.
enum Refusal {
    Not(&'static str),
    TooMany,
}

/// Lets a call through when it has the token, or none is asked for.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let admitted = guard
        .token
        .as_ref()
        .map_or(Ok(()), |token| guard.admits(token, &request));
    match admitted {
        Ok(()) => next.run(request).await,
        Err(Refusal::Not(what)) => Problem::from(Error::new(
            Kind::Unauthorized,
            format!("The token is {what}."),
        ))
        .into_response(),
        Err(Refusal::TooMany) => {
            let detail = "There were too many calls without the right token.";
            // Said once in the log, not as often as somebody likes.
            Problem::from(Error::new(Kind::TooManyAttempts, detail)).into_quiet_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_the_token() {
        let token = Token::new(&Secret::new("0123456789abcdef"));
        assert!(token.is(b"0123456789abcdef"));
        for wrong in [
            &b""[..],
            b"0123456789abcde",
            b"0123456789abcdef ",
            b"0123456789ABCDEF",
        ] {
            assert!(!token.is(wrong));
        }
    }
}
