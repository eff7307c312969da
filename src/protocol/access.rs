//! The token.

use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::Problem;
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
        self.0.as_ref().ct_eq(digest(&SHA256, given).as_ref()).into()
    }
}

/// Lets a call through when it has the token, or none is asked for.
pub(super) async fn guard(State(state): State<super::State>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match &state.token {
        Some(token) if !given.is_some_and(|given| token.is(given)) => {
            let what = if given.is_none() { "missing" } else { "wrong" };
            Problem::from(Error::new(Kind::Unauthorized, format!("The token is {what}."))).into_response()
        }
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_the_token() {
        let token = Token::new(&Secret::new("0123456789abcdef"));
        assert!(token.is(b"0123456789abcdef"));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdef ", b"0123456789ABCDEF"] {
            assert!(!token.is(wrong));
        }
    }
}
