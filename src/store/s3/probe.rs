//! Probe of the route to an endpoint for a check, step by step: name, connection, TLS, clock. Nothing is signed here.

use std::convert;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use tokio::time::timeout;
use url::Url;

use super::answer::ahead_of;
use super::connect::connect_first;
use super::dialect::Dialect;
use super::failure::Failure;
use super::proxy::Way;
use super::request::Request;
use super::resolve::addresses;
use super::traffic::Counters;
use super::transport::{CONNECT_TIMEOUT, Transport};
use crate::config::{S3Settings, Wire};
use crate::error::{Kind, Reason, innermost};
use crate::store::error::{Error, Outcome};

/// Timeout for the first answer.
const GREETING_LIMIT: Duration = Duration::from_secs(15);

/// The first answer of a server.
#[derive(Debug)]
pub struct Greeting {
    /// How far this machine's clock is ahead of the server's.
    pub ahead: Option<chrono::Duration>,
    /// Whether an S3 server gave it.
    pub is_s3: bool,
}

/// Route to one endpoint.
#[derive(Debug)]
pub struct Route {
    /// First hop: the proxy, or the endpoint with the bucket before its host where the dialect has it there.
    next: Url,
    endpoint: Url,
    wire: Wire,
    way: Way,
}

impl Route {
    /// Route of requests with these settings.
    ///
    /// # Errors
    /// When the settings make no valid URL.
    pub fn of(settings: &S3Settings) -> Result<Self, Error> {
        let invalid = |error| {
            Error::new(
                Outcome::Refused,
                format!("The endpoint cannot be used: {error}"),
            )
        };
        let bucket =
            Url::parse(&Dialect::of(settings).bucket_url(&settings.bucket)).map_err(invalid)?;
        let way = Way::to(&settings.endpoint, &settings.wire).map_err(|error| Error {
            reason: Some(Reason::ProxyFailed),
            ..Error::new(
                Outcome::Refused,
                format!("The proxy cannot be used: {error}"),
            )
        })?;
        Ok(Self {
            next: way.proxy().unwrap_or(bucket),
            endpoint: settings.endpoint.clone(),
            wire: settings.wire.clone(),
            way,
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

    /// Resolves the host.
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
            let error = Error::new(Outcome::Unreachable, message);
            Error { reason, ..error }.without_proxy(self.way.unused)
        })
    }

    /// Connects to the first of these addresses that accepts, as transfers do.
    ///
    /// # Errors
    /// [`Outcome::Unreachable`] or [`Outcome::Timeout`].
    pub async fn connect(&self, addresses: &[SocketAddr]) -> Result<(), Error> {
        let connected = timeout(CONNECT_TIMEOUT, connect_first(addresses)).await;
        let connected = connected.map_err(|_| self.no_connection("connect to"))?;
        connected.map(drop).map_err(|error| {
            let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
            let refused = is_refused.then_some(Reason::ConnectionRefused);
            let action = format!("connect to {}", self.place());
            Error {
                reason: self.proxy_failed().or(refused),
                ..Error::could_not(&action, Outcome::Unreachable, innermost(&error))
            }
            .caused_by(error)
            .without_proxy(self.way.unused)
        })
    }

    /// Makes one unsigned request, with a TLS handshake where the endpoint has TLS.
    ///
    /// # Errors
    /// When there is no HTTP answer; a refusal is an answer.
    pub async fn greet(&self) -> Result<Greeting, Error> {
        let action = format!("speak to {}", self.place());
        let greeting = timeout(GREETING_LIMIT, self.ask(&self.endpoint)).await;
        match greeting.map_err(|_| self.timed_out("get an answer from", GREETING_LIMIT))? {
            Ok(greeting) => Ok(greeting),
            Err(error) if self.wants_tls(&error).await => {
                let error = error.error(&action);
                Err(Error {
                    reason: Some(Reason::TlsNeeded),
                    outcome: Outcome::NotS3,
                    ..error
                })
            }
            Err(error) => Err(error.error(&action).without_proxy(self.way.unused)),
        }
    }

    /// Returns the answer to an unsigned request.
    async fn ask(&self, endpoint: &Url) -> Result<Greeting, Failure> {
        let transport = Transport::new(&self.wire, endpoint, "".into(), Counters::default());
        let request = Request::of_bucket(Method::GET);
        match transport
            .send(&request, endpoint.clone(), false, convert::identity)
            .await
        {
            Ok(reply) => Ok(Greeting {
                ahead: reply.header("date").and_then(ahead_of),
                is_s3: reply.header("x-amz-request-id").is_some(),
            }),
            Err(Failure::Refused(answer)) if !answer.is_on_the_way() => Ok(Greeting {
                ahead: answer.date.as_deref().and_then(ahead_of),
                // A proxy's refusal may be as empty as that of a HEAD.
                is_s3: answer.is_s3 && !answer.code.is_empty(),
            }),
            Err(failure) => Err(failure),
        }
    }

    /// Whether a port that does not answer plain HTTP speaks TLS.
    async fn wants_tls(&self, error: &Failure) -> bool {
        let mut endpoint = self.endpoint.clone();
        // Without a port this tries 443, as the suggested endpoint will.
        if self.has_tls() || !error.is_broken_http() || endpoint.set_scheme("https").is_err() {
            return false;
        }
        match timeout(GREETING_LIMIT, self.ask(&endpoint)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => error.error("").reason.is_some_and(|reason| {
                reason.kind() == Kind::StorageCertificate && reason != Reason::NoTls
            }),
            Err(_) => false,
        }
    }

    /// Blames the proxy for a missing connection, where there is one.
    fn proxy_failed(&self) -> Option<Reason> {
        self.has_proxy().then_some(Reason::ProxyFailed)
    }

    fn has_proxy(&self) -> bool {
        self.way.proxy().is_some()
    }

    fn place(&self) -> String {
        let origin = self.endpoint.origin().ascii_serialization();
        if self.has_proxy() {
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
        Error::new(Outcome::Timeout, message).without_proxy(self.way.unused)
    }
}
