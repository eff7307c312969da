//! Real S3 servers of several vendors, so that the agent is not tuned to one.

use serde_json::json;

use super::daemon::{Daemon, ceph, juicefs, moto, rclone, seaweedfs};
use super::{Agent, Bucket, Location, Setup, garage, swift};

/// A real S3 server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server {
    Garage,
    Swift,
    Ceph,
    SeaweedFs,
    Rclone,
    JuiceFs,
    Moto,
}

/// A bucket, and an agent with the location `home` on it.
pub(crate) struct Home {
    pub(crate) agent: Agent,
    pub(crate) bucket: Bucket,
    server: Server,
}

impl Server {
    pub(crate) const ALL: [Self; 7] = [
        Self::Garage,
        Self::Swift,
        Self::Ceph,
        Self::SeaweedFs,
        Self::Rclone,
        Self::JuiceFs,
        Self::Moto,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Garage => "Garage",
            Self::Swift => "OpenStack Swift",
            Self::Ceph => "Ceph",
            Self::SeaweedFs => "SeaweedFS",
            Self::Rclone => "rclone",
            Self::JuiceFs => "JuiceFS",
            Self::Moto => "moto",
        }
    }

    pub(crate) async fn bucket(self) -> Bucket {
        let mut bucket = match self {
            Self::Garage => garage::shared().bucket().await,
            Self::Swift => swift::shared().bucket().await,
            _ => self.daemon().bucket().await,
        };
        bucket.no_uploads = self.capabilities().no_uploads;
        bucket
    }

    /// The location `home`, with a user's usual settings.
    pub(crate) fn location(self, bucket: &Bucket) -> Location {
        let provider = match self {
            Self::Garage => "garage",
            Self::Swift => "swift",
            Self::Ceph => "ceph",
            Self::SeaweedFs => "seaweedfs",
            Self::Rclone | Self::JuiceFs | Self::Moto => "other",
        };
        Location {
            id: "home".into(),
            provider: provider.into(),
            ..Location::of(bucket)
        }
    }

    /// A new bucket and an agent with a location on it.
    pub(crate) async fn home(self) -> Home {
        self.home_with(|_| {}).await
    }

    /// Like [`Self::home`], with changed settings.
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

    /// A valid key without permissions on this bucket.
    pub(crate) async fn guest(self, bucket: &Bucket) -> (String, String) {
        match self {
            Self::Garage => garage::shared().key_for(bucket, json!({})).await,
            Self::Swift => swift::shared().guest(),
            _ => self.daemon().guest(),
        }
    }

    fn log_about(self, bucket: &Bucket) -> String {
        match self {
            Self::Garage => garage::shared().log_about(bucket),
            Self::Swift => swift::shared().log_about(bucket),
            _ => self.daemon().log_about(&bucket.name),
        }
    }

    fn daemon(self) -> &'static Daemon {
        match self {
            Self::Ceph => ceph::shared(),
            Self::SeaweedFs => seaweedfs::shared(),
            Self::Rclone => rclone::shared(),
            Self::JuiceFs => juicefs::shared(),
            Self::Moto => moto::shared(),
            Self::Garage | Self::Swift => unreachable!("{self:?} has its own module"),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{:?} wrote:\n{}",
                self.server,
                self.server.log_about(&self.bucket)
            );
        }
    }
}
