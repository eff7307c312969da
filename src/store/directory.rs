//! A directory, which may be a network mount: when its server is away, a call blocks in the kernel and cannot be cancelled.
//!
//! So no call to it runs on the agent's own thread, and before each call one thread probes whether the directory answers.
//! While that probe hangs, all further calls time out without a thread of their own: threads are limited, too.

mod unnamed;

use std::fs::{self, DirBuilder};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

use super::backend::{
    Backend, Body, Completion, Content, ContentType, HeldPart, Leftover, Listed, Object, Part,
    Session, SessionId, Stat, path_of,
};
use super::error::{Error, Outcome};
use super::key::Key;
use super::pages::{Cursor, Page};
use super::retry::Call;

/// Timeout of the probe.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Timeout for a look through all folders.
const WORK_WITHIN: Duration = Duration::from_mins(1);

type Files = Option<Arc<LocalFileSystem>>;

/// A directory, which is created when it is first needed.
#[derive(Debug)]
pub(super) struct Directory {
    path: Arc<FilePath>,
    /// Its files once it answered; locked by the one probe.
    files: Arc<Mutex<Files>>,
}

impl Directory {
    pub(super) fn new(path: &FilePath) -> Self {
        Self {
            path: path.into(),
            files: Arc::default(),
        }
    }

    /// Returns its files as objects, once it answers.
    async fn objects(&self, call: &Call) -> Result<Arc<LocalFileSystem>, Error> {
        let path = Arc::clone(&self.path);
        let probing = async {
            // The thread releases it, even when its caller timed out long before.
            let mut files = Arc::clone(&self.files).lock_owned().await;
            spawn_blocking(move || open(&path, &mut files)).await
        };
        let opened = in_time(ANSWER_WITHIN, probing, call).await?;
        opened.map_err(failed(call))
    }

    /// Does `work` with its files, once it answers.
    async fn with_files<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce(&FilePath) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.objects(call).await?;
        let path = Arc::clone(&self.path);
        let work = spawn_blocking(move || work(&path));
        in_time(WORK_WITHIN, work, call).await
    }

    async fn remove(&self, path: PathBuf, call: &Call) -> Result<(), Error> {
        match self
            .with_files(call, move |_| fs::remove_file(path))
            .await?
        {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::refused(&call.action, &error).caused_by(error))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Backend for Directory {
    /// Parts of a file are written in order.
    fn parts_in_flight(&self, _: usize) -> usize {
        1
    }

    async fn list(
        &self,
        call: &Call,
        folder: &str,
        _: Option<Cursor>,
        _: Option<u32>,
    ) -> Result<Page<Listed>, Error> {
        let folder =
            Path::parse(folder).map_err(|error| Error::new(Outcome::Refused, error.to_string()))?;
        let objects = self.objects(call).await?;
        let listed = objects.list(Some(&folder)).map_ok(|meta| Ok(object(meta)));
        let items = listed.try_collect().await.map_err(failed(call))?;
        Ok(page(items))
    }

    async fn folders(&self, call: &Call, folder: &str) -> Result<Vec<String>, Error> {
        let folder = folder.to_owned();
        let names = self.with_files(call, move |root| {
            let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
            let folders = entries.filter_map(Result::ok).filter(|entry| {
                let kind = entry.file_type();
                kind.is_ok_and(|kind| kind.is_dir())
            });
            let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
            names.collect::<Vec<_>>()
        });
        names.await
    }

    async fn head(&self, call: &Call, key: &Key, _: bool) -> Result<Stat, Error> {
        let objects = self.objects(call).await?;
        let meta = objects.head(&path_of(key)?).await;
        let found = object(meta.map_err(failed(call))?);
        Ok(Stat {
            size: found.size,
            version: Some(found.version),
            modified: found.modified,
            checksums: Vec::new(),
        })
    }

    async fn get_range(
        &self,
        call: &Call,
        key: &Key,
        range: Option<Range<u64>>,
        e_tag: Option<&str>,
    ) -> Result<Body, Error> {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            if_match: e_tag.map(str::to_owned),
            ..GetOptions::default()
        };
        let objects = self.objects(call).await?;
        let found = objects.get_opts(&path_of(key)?, options).await;
        let found = found.map_err(failed(call))?;
        let (object_size, e_tag) = (found.meta.size, found.meta.e_tag.clone());
        let stream = found.into_stream().map_err(failed(call));
        Ok(Body {
            object_size,
            e_tag,
            ignores_range: false,
            stream: stream.boxed(),
        })
    }

    async fn put(
        &self,
        call: &Call,
        key: &Key,
        content: &Content,
        _: ContentType,
    ) -> Result<(), Error> {
        let payload = bytes_of(content, call)?;
        let objects = self.objects(call).await?;
        let written = objects.put(&path_of(key)?, payload).await;
        written.map(drop).map_err(failed(call))
    }

    async fn delete(&self, call: &Call, key: &Key) -> Result<(), Error> {
        let objects = self.objects(call).await?;
        let deleted = objects.delete(&path_of(key)?).await;
        deleted.map_err(failed(call))
    }

    async fn start(&self, call: &Call, key: &Key) -> Result<Session, Error> {
        let (objects, path) = (self.objects(call).await?, path_of(key)?);
        let runtime = Handle::current();
        // The call itself creates the file, so it may block.
        let begin = move || runtime.block_on(objects.put_multipart(&path));
        let upload = in_time(ANSWER_WITHIN, spawn_blocking(begin), call).await?;
        let upload = Mutex::new(upload.map_err(failed(call))?);
        Ok(Session {
            key: key.clone(),
            id: SessionId::Writing(Arc::new(upload)),
        })
    }

    async fn put_part(
        &self,
        call: &Call,
        session: &Session,
        _: usize,
        content: &Content,
    ) -> Result<String, Error> {
        let SessionId::Writing(upload) = &session.id else {
            return Err(not_open(call));
        };
        let payload = bytes_of(content, call)?;
        let written = upload.lock().await.put_part(payload);
        written.await.map(|()| String::new()).map_err(failed(call))
    }

    async fn complete(
        &self,
        call: &Call,
        session: &Session,
        _: &[Part],
    ) -> Result<Completion, Error> {
        let SessionId::Writing(upload) = &session.id else {
            return Err(not_open(call));
        };
        let completed = upload.lock().await.complete().await;
        completed
            .map(|_| Completion::Confirmed)
            .map_err(failed(call))
    }

    async fn abort(&self, call: &Call, session: &Session) -> Result<(), Error> {
        match &session.id {
            SessionId::File(path) => self.remove(path.clone(), call).await,
            SessionId::Writing(upload) => {
                if upload.lock().await.abort().await.is_ok() {
                    return Ok(());
                }
                // After a failed completion, object_store has lost track of its file.
                let folder = session.key.folder();
                for leftover in self.unfinished(call, folder, None).await?.items {
                    if leftover.key == session.key
                        && let SessionId::File(path) = leftover.id
                    {
                        self.remove(path, call).await?;
                    }
                }
                Ok(())
            }
            SessionId::Upload(_) => Ok(()),
        }
    }

    /// An unfinished file counts as one part; each write to it renews its time.
    async fn parts(
        &self,
        call: &Call,
        session: &Session,
        _: Option<Cursor>,
    ) -> Result<Page<HeldPart>, Error> {
        let SessionId::File(path) = session.id.clone() else {
            return Ok(page(Vec::new()));
        };
        let found = self.with_files(call, move |_| fs::metadata(path)).await?;
        let found = found.map_err(|error| Error::from_io(error, &call.action))?;
        let modified = found.modified().ok().map(DateTime::<Utc>::from);
        Ok(page(vec![HeldPart {
            part_number: 1,
            e_tag: String::new(),
            size: found.len(),
            last_modified: modified.map(|time| time.to_rfc3339()),
        }]))
    }

    async fn unfinished(
        &self,
        call: &Call,
        folder: &str,
        _: Option<Cursor>,
    ) -> Result<Page<Leftover>, Error> {
        let folder = folder.to_owned();
        let items = self
            .with_files(call, move |root| unnamed::files(root, &folder))
            .await?;
        Ok(page(items))
    }
}

fn open(path: &FilePath, files: &mut Files) -> object_store::Result<Arc<LocalFileSystem>> {
    let failed = |source: io::Error| object_store::Error::Generic {
        store: "directory",
        source: Box::new(source),
    };
    if let Some(objects) = files {
        // Any answer is one; the call itself reports a missing file.
        drop(fs::metadata(path));
        return Ok(Arc::clone(objects));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let objects = LocalFileSystem::new_with_prefix(path)?;
    let objects = Arc::new(objects.with_fsync(true).with_automatic_cleanup(false));
    Ok(Arc::clone(files.insert(objects)))
}

fn page<T>(items: Vec<T>) -> Page<T> {
    Page {
        date: Some(Utc::now()),
        ..Page::of(items, None, |_| 0)
    }
}

fn object(meta: ObjectMeta) -> Object {
    Object {
        key: Key::new(meta.location.as_ref()),
        size: meta.size,
        version: meta
            .e_tag
            .unwrap_or_else(|| meta.last_modified.to_rfc3339()),
        modified: Some(meta.last_modified),
    }
}

fn failed(call: &Call) -> impl Fn(object_store::Error) -> Error + use<> {
    let action = Arc::clone(&call.action);
    move |error| {
        let outcome = match &error {
            object_store::Error::NotFound { .. } => Some(Outcome::NotFound),
            object_store::Error::Precondition { .. } => Some(Outcome::Changed),
            object_store::Error::PermissionDenied { .. } => Some(Outcome::Forbidden),
            _ => None,
        };
        let error = Error::from_io(error, &action);
        Error {
            outcome: outcome.unwrap_or(error.outcome),
            ..error
        }
    }
}

fn bytes_of(content: &Content, call: &Call) -> Result<PutPayload, Error> {
    match content {
        Content::Payload(payload) => Ok(payload.bytes.clone().into()),
        Content::Copy(..) => Err(Error::refused(&call.action, "a directory cannot")),
    }
}

fn not_open(call: &Call) -> Error {
    Error::could_not(&call.action, Outcome::NoSuchUpload, "the file is not open")
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, JoinError>>,
    call: &Call,
) -> Result<T, Error> {
    let seconds = limit.as_secs();
    let done = timeout(limit, work).await.map_err(|_| {
        let why = format!("the directory did not answer within {seconds} s");
        Error::could_not(&call.action, Outcome::Timeout, why)
    })?;
    done.map_err(|error| Error::could_not(&call.action, Outcome::Timeout, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn hanging_directory_blocks_one_thread_and_all_calls_time_out() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::new(&folder.path().join("a/b"));
        let call = &Call::new("list it");
        // As a thread holds it that hangs.
        let hanging = Arc::clone(&directory.files).lock_owned().await;
        for _ in 0..3 {
            let error = directory.objects(call).await.unwrap_err();
            assert_eq!(error.outcome, Outcome::Timeout, "{error}");
            let error = directory
                .with_files(call, FilePath::exists)
                .await
                .unwrap_err();
            assert!(
                error.to_string().contains("did not answer within 10 s"),
                "{error}"
            );
        }
        assert!(!folder.path().join("a").exists(), "a call reached it");
        drop(hanging);
        directory.objects(call).await.unwrap();
        assert!(directory.with_files(call, FilePath::exists).await.unwrap());
        assert!(directory.files.try_lock().is_ok());
    }
}
