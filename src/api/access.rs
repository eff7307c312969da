//! The token, which every route but `/v1/health` requires.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Problem;
use crate::error::{Error, Kind};
use crate::server::auth::{Peer, TokenRefusal};

/// Serves a request that the gate admits, and answers all others with a problem.
pub(super) async fn guard(
    State(state): State<super::State>,
    request: Request,
    next: Next,
) -> Response {
    let checked = state.gate.check_api(Peer::of(&request), request.headers());
    let detail = match checked {
        Ok(()) => return next.run(request).await,
        Err(TokenRefusal::Missing) => "The token is missing.",
        Err(TokenRefusal::Wrong) => "The token is wrong.",
        Err(TokenRefusal::Throttled) => {
            let detail = "There were too many calls without the right token.";
            let error = Error::new(Kind::TooManyAttempts, detail);
            // The throttle logs this once; a client could fill the log otherwise.
            return Problem::from(error).into_quiet_response();
        }
    };
    Problem::from(Error::new(Kind::Unauthorized, detail)).into_response()
}
