//! Who may see the page: guests from some addresses, and whoever has the token.
//!
//! A guest is let in for the address alone, so nobody else may be able to send a request from there. Another site can: it
//! points a name of its own at this machine, and the guest's browser takes the agent for a part of that site (DNS
//! rebinding). Such a request has that name in `Host`; so a guest's has to have an IP address there, or localhost. Under
//! Supervisor the guest is no browser, and `Host` is whatever Home Assistant is reached by. The token is asked for with
//! Basic authentication, which browsers keep to the host that it was entered for.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LANGUAGE, CONTENT_TYPE, HOST, HeaderMap, WWW_AUTHENTICATE,
};
use axum::http::{StatusCode, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Guests;
use super::words::Words;
use crate::api::{Attempts, Peer, Token};

/// Lets a request through, or says why not.
pub(super) async fn guard(
    State(state): State<super::State>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    // A listener for both versions of IP shows the older one inside the newer.
    let address = peer.map(|ConnectInfo(peer)| peer.ip().to_canonical());
    match state.door.refusal(address, request.headers()) {
        None => next.run(request).await,
        Some(refusal) => {
            let address = address
                .map(|address| address.to_string())
                .unwrap_or_default();
            refusal.response(state.languages.of(request.headers()), &address)
        }
    }
}

/// Lets people in.
#[derive(Debug)]
pub(super) struct Door {
    guests: Guests,
    token: Option<Token>,
    attempts: Attempts,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The address is nobody's who may come in, and there is no token.
    Address,
    /// The address is right, the name that the page was called by is not, and there is no token.
    Name,
    /// The token is missing or wrong.
    Token,
    /// There were too many wrong tokens.
    Wait,
}

impl Door {
    pub(super) fn new(guests: Guests, token: Option<Token>) -> Self {
        Self {
            guests,
            token,
            attempts: Attempts::default(),
        }
    }

    /// Whether the agent is Supervisor's app.
    pub(super) fn is_app(&self) -> bool {
        self.guests.are_supervisor
    }

    fn refusal(&self, address: Option<IpAddr>, headers: &HeaderMap) -> Option<Refusal> {
        let is_guest = address.is_some_and(|address| self.guests.from.contains(&address));
        if is_guest && (self.guests.are_supervisor || is_called_by_address(headers)) {
            return None;
        }
        match (&self.token, address) {
            (Some(token), Some(address)) => self.without_token(token, address, headers),
            _ if is_guest => Some(Refusal::Name),
            _ => Some(Refusal::Address),
        }
    }

    fn without_token(
        &self,
        token: &Token,
        address: IpAddr,
        headers: &HeaderMap,
    ) -> Option<Refusal> {
        let peer = Peer(Some(address));
        if self.attempts.is_held(peer) {
            return Some(Refusal::Wait);
        }
        // A browser first asks without one.
        let Some(given) = password(headers) else {
            return Some(Refusal::Token);
        };
        if token.is(&given) {
            self.attempts.right(peer);
            return None;
        }
        tracing::warn!(%address, "a wrong token for the page");
        Some(if self.attempts.wrong(peer) {
            Refusal::Wait
        } else {
            Refusal::Token
        })
    }
}

impl Refusal {
    fn response(self, words: &Words, address: &str) -> Response {
        let (status, text) = match self {
            Self::Address => (
                StatusCode::FORBIDDEN,
                words.access.address.replace("{address}", address),
            ),
            Self::Name => (StatusCode::FORBIDDEN, words.access.name.clone()),
            Self::Token => (StatusCode::UNAUTHORIZED, words.access.token.clone()),
            Self::Wait => (StatusCode::TOO_MANY_REQUESTS, words.access.wait.clone()),
        };
        let headers = [
            (CONTENT_TYPE, "text/plain; charset=utf-8"),
            (CONTENT_LANGUAGE, words.language),
        ];
        let mut response = (status, headers, format!("{text}\n")).into_response();
        if self == Self::Token {
            let asked = "Basic realm=\"S3 Backup Agent\", charset=\"UTF-8\"";
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                axum::http::HeaderValue::from_static(asked),
            );
        }
        response
    }
}

/// The password of Basic authentication; the name beside it may be anything.
fn password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64
        .decode(credentials.trim())
        .ok()
        .filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

fn is_called_by_address(headers: &HeaderMap) -> bool {
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
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::config::Secret;

    const GUEST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    fn door(are_supervisor: bool, token: Option<&str>) -> Door {
        let guests = Guests {
            from: vec![GUEST],
            are_supervisor,
        };
        Door::new(guests, token.map(|token| Token::new(&Secret::new(token))))
    }

    fn refusal(door: &Door, from: IpAddr, host: &str, password: Option<&str>) -> Option<Refusal> {
        let mut headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        if let Some(password) = password {
            let basic = format!("Basic {}", BASE64.encode(format!("anybody:{password}")));
            headers.insert(AUTHORIZATION, basic.parse().unwrap());
        }
        door.refusal(Some(from), &headers)
    }

    #[test]
    fn a_guest_comes_in_by_address_alone() {
        let door = door(false, None);
        for host in [
            "127.0.0.1:8099",
            "localhost:8099",
            "[::1]:8099",
            "[::1]",
            "192.0.2.7",
            "LOCALHOST",
        ] {
            assert_eq!(refusal(&door, GUEST, host, None), None, "{host}");
            assert_eq!(
                refusal(&door, STRANGER, host, None),
                Some(Refusal::Address),
                "{host}"
            );
        }
        for host in [
            "evil.example.com",
            "127.0.0.1.evil.example.com",
            "localhost.evil.example.com",
            "",
            "a b",
        ] {
            assert_eq!(
                refusal(&door, GUEST, host, None),
                Some(Refusal::Name),
                "{host}"
            );
        }
        assert_eq!(
            door.refusal(None, &HeaderMap::new()),
            Some(Refusal::Address)
        );
    }

    #[test]
    fn supervisor_calls_the_page_by_any_name() {
        assert_eq!(
            refusal(&door(true, None), GUEST, "home.example.com", None),
            None
        );
        assert_eq!(
            refusal(&door(true, None), STRANGER, "127.0.0.1", None),
            Some(Refusal::Address)
        );
    }

    #[test]
    fn others_need_the_token() {
        let door = door(false, Some("correct-horse:battery"));
        for (from, host) in [(STRANGER, "127.0.0.1"), (GUEST, "home.example.com")] {
            assert_eq!(refusal(&door, from, host, None), Some(Refusal::Token));
            assert_eq!(
                refusal(&door, from, host, Some("correct-horse:batterz")),
                Some(Refusal::Token)
            );
            assert_eq!(
                refusal(&door, from, host, Some("correct-horse:battery")),
                None
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_has_to_wait_but_not_who_has_shown_the_token() {
        let door = door(false, Some("correct-horse-battery"));
        let guess = |from| refusal(&door, from, "127.0.0.1", Some("guessed"));
        let show = |from| refusal(&door, from, "127.0.0.1", Some("correct-horse-battery"));
        let (stranger, owner) = (STRANGER, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)));
        assert_eq!(show(owner), None);
        for from in [stranger, owner] {
            let answers: Vec<_> = (0..30).map(|_| guess(from)).collect();
            assert_eq!(answers[0], Some(Refusal::Token));
            assert_eq!(answers[29], Some(Refusal::Wait));
        }
        assert_eq!(
            show(stranger),
            Some(Refusal::Wait),
            "even with the right token"
        );
        assert_eq!(show(owner), None);
        assert_eq!(refusal(&door, GUEST, "127.0.0.1", None), None);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(show(stranger), None);
    }
}
