//! A gateway that has an S3 server below a path, as Supabase has.

mod signature;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::Bucket;

/// The gateway. It drops its path from each request.
pub(crate) struct Gateway {
    port: u16,
    path: &'static str,
    _accepting: AbortOnDropHandle<()>,
}

/// What it makes of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signature {
    /// Verifies it over the whole path, and signs the request for the server again.
    Verified,
    /// Passes it on with `X-Forwarded-Prefix`: the server verifies it over the whole path.
    PassedWithPath,
    /// Passes it on: the server verifies it over another path than the client has signed.
    Passed,
}

struct Behind {
    bucket: Bucket,
    path: &'static str,
    signature: Signature,
    http: reqwest::Client,
}

impl Gateway {
    /// Has the server of this bucket below `path`.
    pub(crate) async fn before(bucket: &Bucket, path: &'static str, signature: Signature) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind = Arc::new(Behind {
            bucket: bucket.clone(),
            path,
            signature,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        });
        Self {
            port,
            path,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accept(listener, behind))),
        }
    }

    /// The endpoint, with the path.
    pub(crate) fn endpoint(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// The endpoint without the path, where no S3 server answers.
    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

async fn accept(listener: TcpListener, behind: Arc<Behind>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(client, Arc::clone(&behind)));
    }
}

async fn serve(client: TcpStream, behind: Arc<Behind>) {
    let service = service_fn(|request| {
        let behind = Arc::clone(&behind);
        async move { Ok::<_, Infallible>(behind.answer(request).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(client), service);
    // Fails when the client closes it.
    drop(connection.await);
}

impl Behind {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let uri = parts.uri.to_string();
        let Some(below) = uri.strip_prefix(self.path) else {
            return page(
                StatusCode::NOT_FOUND,
                "text/html",
                "<html>Nothing here</html>",
            );
        };
        let url = format!("{}{below}", self.bucket.endpoint);
        let body = body.collect().await.unwrap().to_bytes();
        let headers = match self.signature {
            Signature::Verified if !signature::is_right(&parts, &self.bucket.secret) => {
                let text =
                    "<Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message></Error>";
                return page(StatusCode::FORBIDDEN, "application/xml", text);
            }
            Signature::Verified => signature::renewed(&parts, &url, &body, &self.bucket),
            Signature::PassedWithPath => {
                let mut headers = parts.headers.clone();
                headers.insert("x-forwarded-prefix", HeaderValue::from_static(self.path));
                headers
            }
            Signature::Passed => parts.headers.clone(),
        };
        self.forwarded(parts, url, headers, body).await
    }

    async fn forwarded(
        &self,
        parts: Parts,
        url: String,
        headers: http::HeaderMap,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        let sent = self.http.request(parts.method, url).headers(headers);
        let answer = sent.body(body).send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut passed = Response::new(Full::from(answer.bytes().await.unwrap()));
        (*passed.status_mut(), *passed.headers_mut()) = (status, headers);
        passed.headers_mut().remove(TRANSFER_ENCODING);
        passed
    }
}

fn page(status: StatusCode, kind: &str, text: &'static str) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status);
    let answer = answer.header(CONTENT_TYPE, kind);
    answer.body(Full::from(text)).unwrap()
}
