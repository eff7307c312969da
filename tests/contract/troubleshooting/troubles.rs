//! Reproduces the cases.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::case::Made;
use super::sayings::OBJECT_LOCK;
use crate::lab::{Imitation, Location, Quirk, garage};

/// A failing location and its server.
pub(super) struct Trouble {
    pub(super) location: Location,
    server: Server,
}

enum Server {
    Imitation(Imitation),
    Socket {
        _task: AbortOnDropHandle<()>,
    },
    /// A shared server, or none.
    Elsewhere,
}

impl Trouble {
    pub(super) async fn make(made: &Made) -> Self {
        match made {
            Made::Garage(change) => {
                let location = Location::of(&garage::shared().bucket().await);
                Self {
                    location: change(location),
                    server: Server::Elsewhere,
                }
            }
            Made::Imitation(quirks, change) => {
                let server = Imitation::with(quirks.to_vec()).await;
                Self {
                    location: change(server.location()),
                    server: Server::Imitation(server),
                }
            }
            Made::Tls(certificate, change) => {
                let server = Imitation::with_tls(*certificate).await;
                Self {
                    location: change(server.location()),
                    server: Server::Imitation(server),
                }
            }
            Made::Closed => Self::at(&closed_port().await, Server::Elsewhere).await,
            Made::Silent => Self::at_socket(None).await,
            Made::WebServer(answer) => Self::at_socket(Some(answer)).await,
            Made::Answering(answer, change) => {
                let trouble = Self::at_socket(Some(answer)).await;
                Self {
                    location: change(trouble.location),
                    ..trouble
                }
            }
        }
    }

    /// A location whose only wrong setting is the endpoint.
    async fn at(address: &str, server: Server) -> Self {
        let location = Imitation::with([]).await.location();
        Self {
            location: Location {
                endpoint: format!("http://{address}"),
                ..location
            },
            server,
        }
    }

    async fn at_socket(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, answer));
            }
        });
        Self::at(
            &address,
            Server::Socket {
                _task: AbortOnDropHandle::new(task),
            },
        )
        .await
    }

    /// Removable leftovers in the bucket, if any.
    pub(super) fn traces(&self) -> Option<Vec<String>> {
        let Server::Imitation(server) = &self.server else {
            return None;
        };
        let denied = ["s3:DeleteObject", "s3:AbortMultipartUpload"].map(Quirk::Denies);
        let mut cannot_remove = denied.into_iter().chain([
            Quirk::KeepsObjects,
            Quirk::WriteOnce,
            Quirk::Says(&OBJECT_LOCK),
        ]);
        if cannot_remove.any(|quirk| server.has(&quirk)) {
            return None;
        }
        let traces: Vec<_> = server
            .keys()
            .into_iter()
            .chain(server.unfinished())
            .collect();
        (!traces.is_empty()).then_some(traces)
    }
}

async fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

/// Gives every request the same answer, or reads everything and stays silent.
async fn serve(mut client: TcpStream, answer: Option<&'static str>) {
    let mut buffer = [0; 16 * 1024];
    while matches!(client.read(&mut buffer).await, Ok(1..)) {
        if let Some(answer) = answer {
            drop(client.write_all(answer.as_bytes()).await);
            return drop(client.shutdown().await);
        }
    }
}
