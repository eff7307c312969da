//! The way to an endpoint, step by step, for a check: name, connection, TLS, time. Nothing is signed here.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use object_store::client::{HttpError, HttpRequest, HttpRequestBody};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::error::{Error, Outcome, find};
use super::http::{Answer, CONNECT_TIMEOUT, Http, Shared, addresses};
use super::s3::Dialect;
use crate::config::{S3Settings, Wire};
use crate::error::Reason;

/// How long a server may take for its first word.
const GREETING_LIMIT: Duration = Duration::from_secs(15);

/// The way to one endpoint.
#[derive(Debug)]
pub struct Route {
    /// What is connected to: the endpoint, with the bucket before its host where it belongs there, or the proxy.
    next: Url,
    endpoint: Url,
    wire: Wire,
}

impl Route {
    /// The way that requests with these settings take.
    ///
    /// # Errors
    /// When the bucket's URL is none.
    pub fn of(settings: &S3Settings) -> Result<Self, Error> {
        let invalid = |error: url::ParseError| {
            Error::new(
                Outcome::Refused,
                format!("The endpoint cannot be used: {error}"),
            )
        };
        let endpoint =
            Url::parse(&Dialect::of(settings).bucket_url(&settings.bucket)).map_err(invalid)?;
        let proxy = settings
            .wire
            .proxy
            .as_ref()
            .map(|proxy| Url::parse(proxy.expose()));
        let next = proxy
            .transpose()
            .map_err(invalid)?
            .unwrap_or_else(|| endpoint.clone());
        Ok(Self {
            next,
            endpoint: settings.endpoint.clone(),
            wire: settings.wire.clone(),
        })
    }

    fn host(&self) -> &str {
        self.next.host_str().unwrap_or_default()
    }

    /// Whether the endpoint speaks TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.endpoint.scheme() == "https"
    }

    /// Looks the host's addresses up.
    ///
    /// # Errors
    /// [`Outcome::Unreachable`] with [`Reason::HostUnknown`].
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        let port = self.next.port_or_known_default().unwrap_or(443);
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        let found = timeout(CONNECT_TIMEOUT, addresses(host, port)).await;
        let found = found.map_err(|_| self.no_connection("find the address of"))?;
        found.map_err(|error| {
            let message = format!("Could not find \"{}\": {error}", self.host());
            let reason = self.proxy_failed().or(Some(Reason::HostUnknown));
            Error {
                reason,
                ..Error::new(Outcome::Unreachable, message)
            }
        })
    }

    /// Connects to the first of these addresses that takes a connection.
    ///
    /// # Errors
    /// [`Outcome::Unreachable`] or [`Outcome::Timeout`].
    pub async fn connect(&self, addresses: &[SocketAddr]) -> Result<(), Error> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(addresses)).await;
        let connected = connected.map_err(|_| self.no_connection("connect to"))?;
        connected.map(drop).map_err(|error| {
            let error = Error::from_failure(
                Outcome::Unreachable,
                error,
                &format!("connect to {}", self.place()),
            );
            Error {
                reason: self.proxy_failed().or(error.reason),
                ..error
            }
        })
    }

    /// Makes one plain request, so that TLS comes up, and says how far this machine's clock is ahead of the server's.
    ///
    /// # Errors
    /// What keeps an HTTP answer from coming; a refusal is an answer.
    pub async fn greet(&self) -> Result<Option<chrono::Duration>, Error> {
        let action = format!("speak to {}", self.place());
        let greeting = timeout(GREETING_LIMIT, self.ask(&self.endpoint)).await;
        match greeting.map_err(|_| self.timed_out("get an answer from", GREETING_LIMIT))? {
            Ok(date) => Ok(date.as_deref().and_then(ahead_of)),
            Err(error) if self.wants_tls(&error).await => {
                let error = Error::from_http(error, &action);
                Err(Error {
                    reason: Some(Reason::TlsNeeded),
                    outcome: Outcome::NotS3,
                    ..error
                })
            }
            Err(error) => Err(Error::from_http(error, &action)),
        }
    }

    /// The `Date` of an answer to an unsigned request.
    async fn ask(&self, endpoint: &Url) -> Result<Option<String>, HttpError> {
        let http = Http::new(&self.wire, Shared::default())
            .map_err(super::s3::unusable)?
            .into_client();
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = endpoint
            .as_str()
            .parse()
            .map_err(|error: http::uri::InvalidUri| super::s3::unusable(error))?;
        match http.execute(request).await {
            Ok(answer) => Ok(answer
                .headers()
                .get("date")
                .and_then(|date| date.to_str().ok())
                .map(str::to_owned)),
            Err(error) if Error::is_on_the_way(&error) => Err(error),
            Err(error) => find::<Answer>(&error)
                .map(|answer| answer.date.clone())
                .ok_or(error),
        }
    }

    /// Whether a port that could not be spoken to in plain HTTP speaks TLS.
    async fn wants_tls(&self, error: &HttpError) -> bool {
        let mut endpoint = self.endpoint.clone();
        let is_broken = Error::is_broken_http(error) && find::<Answer>(error).is_none();
        // Without a port it is 443 that is tried now, as it will be with the endpoint that is offered.
        if self.has_tls() || !is_broken || endpoint.set_scheme("https").is_err() {
            return false;
        }
        match timeout(GREETING_LIMIT, self.ask(&endpoint)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => Error::from_http(error, "").reason.is_some_and(|reason| {
                matches!(
                    reason,
                    Reason::CertificateUnknown
                        | Reason::CertificateExpired
                        | Reason::CertificateOtherName
                )
            }),
            Err(_) => false,
        }
    }

    /// Whose fault it is that there is no connection.
    fn proxy_failed(&self) -> Option<Reason> {
        self.wire.proxy.is_some().then_some(Reason::ProxyFailed)
    }

    fn place(&self) -> String {
        let origin = self.endpoint.origin().ascii_serialization();
        if self.wire.proxy.is_some() {
            format!("{origin} through the proxy at {}", self.host())
        } else {
            origin
        }
    }

    fn no_connection(&self, verb: &str) -> Error {
        Error {
            reason: self.proxy_failed(),
            ..self.timed_out(verb, CONNECT_TIMEOUT)
        }
    }

    fn timed_out(&self, verb: &str, limit: Duration) -> Error {
        let message = format!(
            "Could not {verb} {}: no answer within {} s",
            self.place(),
            limit.as_secs()
        );
        Error::new(Outcome::Timeout, message)
    }
}

/// How far this machine's clock is ahead of a `Date` header (RFC 9110, section 5.6.7).
pub(super) fn ahead_of(date: &str) -> Option<chrono::Duration> {
    let server = DateTime::parse_from_rfc2822(date).ok()?;
    Some(Utc::now().signed_duration_since(server))
}
