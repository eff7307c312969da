//! Real S3 servers of different makers, so that nothing is tuned to one.

use serde_json::json;

use super::{Agent, Bucket, Location, Setup, garage, swift};

/// A real S3 server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server {
    Garage,
    Swift,
}

/// A bucket, and an agent with the location `home` on it.
pub(crate) struct Home {
    pub(crate) agent: Agent,
    pub(crate) bucket: Bucket,
    server: Server,
}

impl Server {
    pub(crate) async fn bucket(self) -> Bucket {
        match self {
            Self::Garage => garage::shared().bucket().await,
            Self::Swift => swift::shared().bucket().await,
        }
    }

    /// The location `home`, set up as people would.
    pub(crate) fn location(self, bucket: &Bucket) -> Location {
        let provider = match self {
            Self::Garage => "garage",
            Self::Swift => "swift",
        };
        Location {
            id: "home".into(),
            provider: provider.into(),
            ..Location::of(bucket)
        }
    }

    /// A new bucket and an agent that keeps backups there.
    pub(crate) async fn home(self) -> Home {
        self.home_with(|_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn home_with(self, change: impl FnOnce(&mut Location)) -> Home {
        let bucket = self.bucket().await;
        let mut location = self.location(&bucket);
        change(&mut location);
        Home {
            agent: Setup::of(location).serve().await,
            bucket,
            server: self,
        }
    }

    /// A key that the server knows, and that may do nothing with this bucket.
    pub(crate) async fn guest(self, bucket: &Bucket) -> (String, String) {
        match self {
            Self::Garage => garage::shared().key_for(bucket, json!({})).await,
            Self::Swift => swift::shared().guest(),
        }
    }

    fn said_of(self, bucket: &Bucket) -> String {
        match self {
            Self::Garage => garage::shared().said_of(bucket),
            Self::Swift => swift::shared().said_of(bucket),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{:?} wrote:\n{}",
                self.server,
                self.server.said_of(&self.bucket)
            );
        }
    }
}
