//! A directory that may be a network mount: when its server is away, whoever asks waits in the kernel, and cannot be
//! called back.
//!
//! So nothing of it is asked where the agent lives, in its one thread, and before each call one thread looks whether the
//! directory answers. While that one waits, all others are told so, and take no thread of their own: there is an end to
//! threads, too.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

use super::error::{Error, Outcome};

/// How long a directory may take to say that it is there.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long it may take to look through all of its folders.
const WORK_WITHIN: Duration = Duration::from_mins(1);

/// A directory, which is made when it is first needed.
#[derive(Debug, Clone)]
pub(super) struct Directory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    objects: Mutex<Option<Arc<LocalFileSystem>>>,
    /// One at a time looks whether it answers.
    looking: Arc<Semaphore>,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        let looking = Arc::new(Semaphore::new(1));
        Self(Arc::new(Shared {
            path: path.to_owned(),
            objects: Mutex::default(),
            looking,
        }))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Its files as objects, when it answers.
    ///
    /// # Errors
    /// [`Outcome::Timeout`], and what keeps it from being made.
    pub(super) async fn objects(&self, action: &str) -> Result<Arc<dyn ObjectStore>, Error> {
        let directory = self.clone();
        let looking = async {
            // Goes back when the thread does, though nobody may be waiting for it by then.
            let turn = Arc::clone(&self.0.looking).acquire_owned().await;
            let look = move || (directory.open(), turn);
            spawn_blocking(look).await
        };
        let (opened, _turn) = in_time(ANSWER_WITHIN, looking, action).await?;
        Ok(opened.map_err(|error| Error::from_object_store(error, action))?)
    }

    /// Begins a file in parts; `LocalFileSystem` makes it where it is called.
    ///
    /// # Errors
    /// As [`Self::objects`].
    pub(super) async fn begin(
        &self,
        path: object_store::path::Path,
        action: &str,
    ) -> Result<Box<dyn MultipartUpload>, Error> {
        let (objects, runtime) = (self.objects(action).await?, Handle::current());
        let begin = move || runtime.block_on(objects.put_multipart(&path));
        let upload = in_time(ANSWER_WITHIN, spawn_blocking(begin), action).await?;
        upload.map_err(|error| Error::from_object_store(error, action))
    }

    /// Does something with its files, when it answers.
    ///
    /// # Errors
    /// As [`Self::objects`].
    pub(super) async fn with_files<T: Send + 'static>(
        &self,
        action: &str,
        work: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.objects(action).await?;
        let directory = self.clone();
        in_time(
            WORK_WITHIN,
            spawn_blocking(move || work(directory.path())),
            action,
        )
        .await
    }

    fn open(&self) -> object_store::Result<Arc<LocalFileSystem>> {
        let failed = |source: io::Error| object_store::Error::Generic {
            store: "directory",
            source: Box::new(source),
        };
        let known = self
            .0
            .objects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(objects) = known {
            // It answers, whatever it says: what is not there any more is told by the call itself.
            drop(fs::metadata(&self.0.path));
            return Ok(objects);
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0.path)
            .map_err(failed)?;
        let objects = LocalFileSystem::new_with_prefix(&self.0.path)?;
        let objects = Arc::new(objects.with_fsync(true).with_automatic_cleanup(false));
        *self
            .0
            .objects
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&objects));
        Ok(objects)
    }
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, JoinError>>,
    action: &str,
) -> Result<T, Error> {
    let failed = |why: String| Error::new(Outcome::Timeout, format!("Could not {action}: {why}"));
    let done = timeout(limit, work).await;
    let done = done.map_err(|_| {
        failed(format!(
            "the directory did not answer within {} s",
            limit.as_secs()
        ))
    })?;
    done.map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn while_it_does_not_answer_one_waits_and_all_others_are_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::new(&folder.path().join("a/b"));
        // As a thread holds it that does not come back.
        let hanging = Arc::clone(&directory.0.looking).acquire_owned().await;
        for _ in 0..3 {
            let error = directory.objects("list it").await.unwrap_err();
            assert_eq!(error.outcome, Outcome::Timeout, "{error}");
            let error = directory
                .with_files("look at it", Path::exists)
                .await
                .unwrap_err();
            assert!(
                error.to_string().contains("did not answer within 10 s"),
                "{error}"
            );
        }
        assert!(
            !folder.path().join("a").exists(),
            "it was asked all the same"
        );
        drop(hanging);
        directory.objects("list it").await.unwrap();
        assert!(
            directory
                .with_files("look at it", Path::exists)
                .await
                .unwrap()
        );
        assert_eq!(directory.0.looking.available_permits(), 1);
    }
}
