//! An S3 server that keeps only size and CRC-64 of a tar, for backups larger than the disk.
//!
//! It accepts every signature. Small objects, such as metadata, are kept.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest, checksum_combine};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::Location;

const CRC: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;
const KEPT_BYTES: usize = 64 * 1024;

/// Facts about an object or a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) size: u64,
    pub(crate) crc64: u64,
    data: Option<Bytes>,
}

#[derive(Default)]
struct Held {
    objects: BTreeMap<String, Piece>,
    uploads: BTreeMap<String, BTreeMap<u32, Piece>>,
    most_parts: usize,
}

/// The server.
pub(crate) struct Discard {
    port: u16,
    held: Arc<Mutex<Held>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Discard {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, held) = (
            listener.local_addr().unwrap().port(),
            Arc::<Mutex<Held>>::default(),
        );
        let shared = Arc::clone(&held);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let held = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&held), request));
                // Disconnected clients are ignored.
                tokio::spawn(async move {
                    drop(
                        http1::Builder::new()
                            .serve_connection(TokioIo::new(client), service)
                            .await,
                    );
                });
            }
        });
        Self {
            port,
            held,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// The location `discard`.
    pub(crate) fn location(&self) -> Location {
        Location {
            id: "discard".into(),
            provider: "garage".into(),
            endpoint: format!("http://127.0.0.1:{}", self.port),
            region: "garage".into(),
            bucket: "discard".into(),
            prefix: String::new(),
            key_id: "GK000000000000000000000000".into(),
            secret: "0123456789abcdef0123456789abcdef".into(),
            part_size: "8 MiB".into(),
            concurrency: 4,
            outage_seconds: 60,
            options: Vec::new(),
        }
    }

    /// The stored facts of a key.
    pub(crate) fn object(&self, key: &str) -> Piece {
        self.held.lock().unwrap().objects[key].clone()
    }

    /// The largest number of parts of one object.
    pub(crate) fn most_parts(&self) -> usize {
        self.held.lock().unwrap().most_parts
    }
}

async fn answer(
    held: Arc<Mutex<Held>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let piece = Piece::read(body).await;
    Ok(piece
        .and_then(|piece| held.lock().unwrap().answer(&parts, piece))
        .unwrap_or_else(|status| {
            let code = if status == StatusCode::NOT_FOUND {
                "NoSuchKey"
            } else {
                "NotImplemented"
            };
            respond(
                status,
                format!("<Error><Code>{code}</Code><Message>No.</Message></Error>"),
            )
        }))
}

impl Piece {
    async fn read(mut body: Incoming) -> Result<Self, StatusCode> {
        let (mut size, mut digest, mut data) = (0, Digest::new(CRC), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data() else {
                continue;
            };
            size += bytes.len() as u64;
            digest.update(&bytes);
            if data.len() <= KEPT_BYTES {
                data.extend_from_slice(&bytes);
            }
        }
        let data = (data.len() <= KEPT_BYTES).then(|| data.freeze());
        Ok(Self {
            size,
            crc64: digest.finalize(),
            data,
        })
    }

    fn e_tag(&self) -> String {
        format!("\"{:016x}-{}\"", self.crc64, self.size)
    }

    fn followed_by(self, next: &Self) -> Self {
        let crc64 = checksum_combine(CRC, self.crc64, next.crc64, next.size);
        Self {
            size: self.size + next.size,
            crc64,
            data: None,
        }
    }
}

impl Held {
    fn answer(
        &mut self,
        request: &Parts,
        piece: Piece,
    ) -> Result<Response<Full<Bytes>>, StatusCode> {
        let path = request.uri.path().trim_start_matches('/');
        let key = path
            .split_once('/')
            .map(|(_bucket, key)| key.to_owned())
            .unwrap_or_default();
        let query: BTreeMap<_, _> = request
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (!name.is_empty()).then_some((name, value))
            })
            .collect();
        let upload = query.get("uploadId").copied();
        match (&request.method, upload) {
            (&Method::POST, None) if query.contains_key("uploads") => Ok(self.begin()),
            (&Method::PUT, Some(id)) => {
                let number = query
                    .get("partNumber")
                    .and_then(|number| number.parse().ok());
                let number = number.ok_or(StatusCode::BAD_REQUEST)?;
                let parts = self.uploads.get_mut(id).ok_or(StatusCode::NOT_FOUND)?;
                let e_tag = piece.e_tag();
                parts.insert(
                    number,
                    Piece {
                        data: None,
                        ..piece
                    },
                );
                Ok(tagged(&e_tag))
            }
            (&Method::POST, Some(id)) => self.complete(id, key),
            (&Method::PUT, None) => {
                let e_tag = piece.e_tag();
                self.objects.insert(key, piece);
                Ok(tagged(&e_tag))
            }
            (&Method::DELETE, _) => {
                upload.map_or_else(
                    || drop(self.objects.remove(&key)),
                    |id| drop(self.uploads.remove(id)),
                );
                Ok(respond(StatusCode::NO_CONTENT, ""))
            }
            (&Method::HEAD, None) => self
                .objects
                .get(&key)
                .map(head)
                .ok_or(StatusCode::NOT_FOUND),
            (&Method::GET, None) if query.contains_key("list-type") => Ok(self.list()),
            (&Method::GET, None) => {
                let object = self.objects.get(&key).ok_or(StatusCode::NOT_FOUND)?;
                let data = object.data.clone().ok_or(StatusCode::NOT_IMPLEMENTED)?;
                let mut answer = tagged(&object.e_tag());
                *answer.body_mut() = data.into();
                Ok(answer)
            }
            _ => Err(StatusCode::NOT_IMPLEMENTED),
        }
    }

    fn begin(&mut self) -> Response<Full<Bytes>> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        self.uploads.insert(id.clone(), BTreeMap::new());
        respond(
            StatusCode::OK,
            format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ),
        )
    }

    fn complete(&mut self, id: &str, key: String) -> Result<Response<Full<Bytes>>, StatusCode> {
        let parts = self.uploads.remove(id).ok_or(StatusCode::NOT_FOUND)?;
        self.most_parts = self.most_parts.max(parts.len());
        let whole = parts
            .values()
            .cloned()
            .reduce(|whole, part| whole.followed_by(&part));
        let whole = whole.ok_or(StatusCode::BAD_REQUEST)?;
        let e_tag = whole.e_tag();
        self.objects.insert(key, whole);
        let text = "<CompleteMultipartUploadResult><ETag>";
        let text = format!("{text}{e_tag}</ETag></CompleteMultipartUploadResult>");
        Ok(respond(StatusCode::OK, text))
    }

    fn list(&self) -> Response<Full<Bytes>> {
        let entry = |(key, piece): (&String, &Piece)| {
            let (e_tag, size) = (piece.e_tag(), piece.size);
            let time = "2026-11-20T04:47:12.000Z";
            format!(
                "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>{e_tag}</ETag><LastModified>{time}</LastModified></Contents>"
            )
        };
        let entries: String = self.objects.iter().map(entry).collect();
        respond(
            StatusCode::OK,
            format!(
                "<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
            ),
        )
    }
}

fn respond(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::new(text.into()))
        .unwrap()
}

fn tagged(e_tag: &str) -> Response<Full<Bytes>> {
    let mut answer = respond(StatusCode::OK, "");
    answer.headers_mut().insert("etag", e_tag.parse().unwrap());
    answer.headers_mut().insert(
        "last-modified",
        "Fri, 20 Nov 2026 04:47:12 GMT".parse().unwrap(),
    );
    answer
}

fn head(object: &Piece) -> Response<Full<Bytes>> {
    let mut answer = tagged(&object.e_tag());
    answer
        .headers_mut()
        .insert("content-length", object.size.into());
    answer
}
