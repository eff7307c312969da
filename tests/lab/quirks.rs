//! A server of S3 in the test process that can differ as real providers do, one [`Quirk`] at a time.
//!
//! `s3s` reads requests and checks signatures, `s3s-fs` keeps what it is given in a folder. Around them: [`front`] answers
//! what a provider answers before it looks at an object, [`storage`] differs in what is done with objects, and
//! [`server`] in how connections and certificates behave; [`failing`] breaks the requests whose numbers it is told.

mod failing;
mod front;
mod server;
mod storage;
mod tls;

pub(crate) use failing::Failure;
pub(crate) use server::Imitation;
pub(crate) use tls::Certificate;

/// One way in which a provider differs from Amazon S3, or in which things go wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Quirk {
    /// Refuses every `x-amz-checksum-*` header, `x-amz-sdk-checksum-algorithm` and trailers, with Backblaze B2's words.
    /// Sources: "Unsupported Features" in Backblaze's "S3-Compatible API",
    /// <https://github.com/home-assistant/core/issues/143995>, <https://github.com/diced/zipline/issues/746>.
    RefusesChecksumHeaders,
    /// Takes a body with trailers for the content itself, so that its hash never matches: Ceph as Hetzner runs it.
    /// Sources: <https://github.com/home-assistant/core/issues/144015>, <https://github.com/fsspec/s3fs/issues/932>.
    MisreadsTrailers,
    /// Wants all parts but the last to have one size; says so when they are put together.
    /// Sources: Cloudflare's "Multipart upload" (developers.cloudflare.com/r2/objects/multipart-objects/),
    /// <https://github.com/apache/opendal/issues/2904>.
    EqualParts,
    /// Takes no more than this many parts. Sources: Scaleway's "Managing multipart uploads"
    /// (www.scaleway.com/en/docs/object-storage/api-cli/multipart-uploads/), `max_upload_part_num` in `OpenStack` Swift's
    /// s3api.
    MaxParts(i32),
    /// Asks to slow down at the first so many requests of every kind.
    /// Source: `SlowDown` in Amazon's API reference, "Error responses".
    SlowDownFirst(usize),
    /// Asks to slow down at every so many requests.
    SlowDownEvery(usize),
    /// Takes its time over a part, and asks to slow down when more than this many come at the same time.
    BusyAbove(usize),
    /// Closes the connection instead of answering, at every so many requests: in turn before its work and after it.
    /// Source: <https://github.com/minio/minio/issues/9759>.
    HangsUpEvery(usize),
    /// Closes the connection after each answer without having said so.
    /// Source: <https://github.com/tensorlakeai/tensorlake/issues/469>.
    ClosesAfterAnswer,
    /// Answers 200, then white space, then an error, the first so many times when parts are to be put together.
    /// Sources: Amazon's API reference of `CompleteMultipartUpload`,
    /// <https://github.com/openaddresses/machine/issues/429>.
    FailsToComplete(usize),
    /// Gives `ETag`s that look like an MD5 and are none, as encrypted buckets do.
    /// Source: `ETag` in Amazon's API reference of `Object`.
    OpaqueETags,
    /// Does not know how to delete several objects at once, with Google's words.
    /// Source: <https://github.com/minio/mc/issues/4778>.
    NoBulkDelete,
    /// Wants the bucket before the host name, with Alibaba's words.
    /// Sources: <https://github.com/peak/s5cmd/issues/518>, <https://github.com/treeverse/lakeFS/issues/3613>.
    VirtualHostsOnly,
    /// Lists at most this many objects, or unfinished uploads, at a time, whatever was asked for.
    /// Source: `MaxKeys` in Amazon's API reference of `ListObjectsV2` ("might contain fewer keys").
    PageSize(i32),
    /// Is in this region, and names it when a request is signed for another.
    /// Sources: <https://github.com/peak/s5cmd/issues/325>, <https://github.com/aws/aws-sdk-cpp/issues/1339>.
    Region(&'static str),
    /// Is in this region, and redirects a request that is signed for another; only a header names the region.
    /// Source: <https://github.com/yanganto/s3rs/issues/18>.
    RedirectsTo(&'static str),
    /// Knows no storage class but these.
    /// Sources: <https://github.com/minio/minio/issues/5469>, <https://github.com/distribution/distribution/issues/4857>.
    StorageClasses(&'static [&'static str]),
    /// Its clock is so many minutes ahead, and it refuses requests that are more than 15 minutes off.
    /// Source: <https://github.com/versity/versitygw/issues/1514>.
    ClockAhead(i64),
    /// The key may do anything but this action of IAM.
    /// Source: "Actions, resources, and condition keys for Amazon S3" in Amazon's service authorization reference.
    Denies(&'static str),
    /// The quota is used up: 403, as Ceph and Versity say it.
    /// Source: <https://github.com/versity/versitygw/pull/503>.
    QuotaExceeded,
    /// The disks are full: 507, as `MinIO` says it.
    /// Source: `XMinioStorageFull` in `cmd/api-errors.go` of <https://github.com/minio/minio>.
    StorageFull,
    /// The session token has expired. Source: <https://github.com/romange/helio/issues/15>.
    TokenExpired,
}

/// What a server was made with.
#[derive(Debug, Clone, Default)]
struct Quirks(Vec<Quirk>);

impl Quirks {
    fn has(&self, quirk: &Quirk) -> bool {
        self.0.contains(quirk)
    }

    /// The value of the quirk that `value` knows.
    fn find<'q, T>(&'q self, value: impl Fn(&'q Quirk) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(value)
    }

    /// How far ahead the server's clock is.
    fn clock_offset(&self) -> chrono::TimeDelta {
        let minutes = self.find(|quirk| match quirk {
            Quirk::ClockAhead(minutes) => Some(*minutes),
            _ => None,
        });
        chrono::TimeDelta::minutes(minutes.unwrap_or_default())
    }
}
