//! Upload of a backup as a form, piece by piece: nothing of it is kept.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{ANSWER_WITHIN, Failure, HomeAssistant, Installation, body_of, words_of};
use crate::error::innermost;

/// How long Home Assistant may take no byte: its disk may be slow.
pub(super) const TAKES_WITHIN: Duration = Duration::from_mins(5);

/// How long it may take to answer after the last byte: it reads the backup, and Supervisor may copy it.
const ANSWERS_WITHIN: Duration = Duration::from_mins(30);

/// Name of the file that Home Assistant receives into. Always the same: 2026.3 keeps what it has of an upload that was cut,
/// and the next one replaces it. Source: `_async_receive_backup` in `homeassistant/components/backup/manager.py`.
const FILE_NAME: &str = "s3-backup-agent.tar";

/// Why an upload failed: by its source, or by Home Assistant.
#[derive(Debug)]
pub enum UploadError<E> {
    /// The backup could not be read.
    Source(E),
    /// Home Assistant did not take it.
    HomeAssistant(Failure),
}

/// Whom an upload waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The next piece is being read.
    Source,
    /// A piece is being sent.
    Sender,
    /// All is sent.
    Answer,
}

impl HomeAssistant {
    /// Uploads a backup of `size` bytes, and returns its id. A source that fails leaves the form incomplete, so that Home
    /// Assistant takes no backup.
    ///
    /// # Errors
    /// [`UploadError`]: the source's error; [`Failure::Cut`], [`Failure::Silent`], [`Failure::Refused`],
    /// [`Failure::Onboarded`].
    pub async fn upload<E>(
        &self,
        installation: Installation,
        size: u64,
        pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<String, UploadError<E>>
    where
        E: Display + Send + 'static,
    {
        let boundary = uuid::Uuid::new_v4().simple().to_string();
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{FILE_NAME}\"\r\n\
             Content-Type: application/x-tar\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let length = head.len() as u64 + size + tail.len() as u64;
        let failed = Arc::new(Mutex::new(None));
        let (turn, turns) = watch::channel(Turn::Source);
        let form = form(head, pieces, tail, Arc::clone(&failed), turn);
        let path = format!(
            "api/onboarding/backup/upload?agent_id={}",
            installation.agent_id()
        );
        let url = self.path(&path).map_err(UploadError::HomeAssistant)?;
        let sending = self
            .client
            .post(url)
            .header(
                CONTENT_TYPE,
                format!("multipart/form-data; boundary={boundary}"),
            )
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(form))
            .send();
        let answer = tokio::select! {
            answer = sending => answer.map_err(|error| self.broken(&error)),
            minutes = silence(turns) => Err(Failure::Silent(minutes)),
        };
        if let Some(error) = failed.lock().take() {
            return Err(UploadError::Source(error));
        }
        let received = match answer {
            Ok(answer) => self.received(answer).await,
            Err(failure) => Err(failure),
        };
        received.map_err(UploadError::HomeAssistant)
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        if error.is_connect() {
            self.failure(error)
        } else {
            Failure::Cut(innermost(error))
        }
    }

    async fn received(&self, answer: reqwest::Response) -> Result<String, Failure> {
        let status = answer.status();
        let body = timeout(ANSWER_WITHIN, body_of(answer)).await;
        let body =
            body.map_err(|_| Failure::Cut("the rest of its answer is missing".to_owned()))?;
        let body = body.map_err(|error| self.broken(&error))?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (status, said["backup_id"].as_str()) {
            (StatusCode::CREATED, Some(backup_id)) => Ok(backup_id.to_owned()),
            (StatusCode::UNAUTHORIZED, _) => Err(Failure::Onboarded(self.url().to_owned())),
            _ => Err(Failure::Refused(words_of(status, &body))),
        }
    }
}

/// The form around the pieces. The first error of theirs is kept, and ends it.
fn form<E: Display + Send + 'static>(
    head: String,
    pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    tail: String,
    failed: Arc<Mutex<Option<E>>>,
    turn: watch::Sender<Turn>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let state = (Box::pin(pieces), Some(tail), failed, turn);
    let body = stream::unfold(state, |(mut pieces, mut tail, failed, turn)| async move {
        // The sender asks for a piece when it has sent the one before.
        turn.send_replace(Turn::Source);
        let piece = match pieces.next().await {
            Some(Ok(piece)) => {
                turn.send_replace(Turn::Sender);
                Ok(piece)
            }
            Some(Err(error)) => {
                let text = error.to_string();
                *failed.lock() = Some(error);
                Err(std::io::Error::other(text))
            }
            None => {
                turn.send_replace(Turn::Answer);
                Ok(Bytes::from(tail.take()?))
            }
        };
        Some((piece, (pieces, tail, failed, turn)))
    });
    stream::iter([Ok(Bytes::from(head))]).chain(body)
}

/// Waits until Home Assistant was silent for too long, and returns the minutes.
async fn silence(mut turns: watch::Receiver<Turn>) -> u64 {
    loop {
        let turn = *turns.borrow_and_update();
        let limit = match turn {
            Turn::Source => None,
            Turn::Sender => Some(TAKES_WITHIN),
            Turn::Answer => Some(ANSWERS_WITHIN),
        };
        let Some(limit) = limit else {
            if turns.changed().await.is_err() {
                // The form is gone, and with it the request.
                sleep(ANSWERS_WITHIN).await;
            }
            continue;
        };
        match timeout(limit, turns.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                sleep(ANSWERS_WITHIN).await;
                return ANSWERS_WITHIN.as_secs() / 60;
            }
            Err(_) => return limit.as_secs() / 60,
        }
    }
}
