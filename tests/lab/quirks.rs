//! An S3 server in the test process that imitates deviations of real providers, one [`Quirk`] each.
//!
//! `s3s` reads requests and checks signatures, `s3s-fs` stores objects in a folder. [`front`]
//! answers before any object is touched, [`storage`] deviates in operations on objects, [`server`]
//! in connections and certificates, [`between`] is a proxy or a cache; [`failing`] breaks requests
//! by number.

mod between;
mod failing;
mod front;
mod server;
mod storage;
mod tls;

pub(crate) use failing::Failure;
pub(crate) use server::Imitation;
pub(crate) use tls::Certificate;
pub(in crate::lab) use tls::Identity;

/// One deviation of a provider from Amazon S3, or one failure of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Quirk {
    /// Refuses every `x-amz-checksum-*` header, `x-amz-sdk-checksum-algorithm` and trailers, in
    /// Backblaze B2's words. Sources: "Unsupported Features" in Backblaze's "S3-Compatible
    /// API", <https://github.com/home-assistant/core/issues/143995>,
    /// <https://github.com/diced/zipline/issues/746>.
    RefusesChecksumHeaders,
    /// Stores trailers as content, so that the hash never matches: Ceph as run by Hetzner.
    /// Sources: <https://github.com/home-assistant/core/issues/144015>,
    /// <https://github.com/fsspec/s3fs/issues/932>.
    MisreadsTrailers,
    /// Requires equal sizes of all parts but the last; complains at completion. Sources:
    /// Cloudflare's "Multipart upload"
    /// (developers.cloudflare.com/r2/objects/multipart-objects/),
    /// <https://github.com/apache/opendal/issues/2904>.
    EqualParts,
    /// Accepts at most this many parts. Sources: Scaleway's "Managing multipart uploads"
    /// (www.scaleway.com/en/docs/object-storage/api-cli/multipart-uploads/),
    /// `max_upload_part_num` in `OpenStack` Swift's s3api.
    MaxParts(i32),
    /// Throttles the first so many requests of every kind. Source: `SlowDown` in Amazon's API
    /// reference, "Error responses".
    SlowDownFirst(usize),
    /// Throttles every n-th request.
    SlowDownEvery(usize),
    /// Stores parts slowly, and throttles more than this many concurrent parts.
    BusyAbove(usize),
    /// Closes the connection instead of answering every n-th request: in turn before and after
    /// its work. Source: <https://github.com/minio/minio/issues/9759>.
    HangsUpEvery(usize),
    /// Closes the connection after each answer without announcing it. Source:
    /// <https://github.com/tensorlakeai/tensorlake/issues/469>.
    ClosesAfterAnswer,
    /// Answers the first n completions with 200, white space, then an error. Sources: Amazon's
    /// API reference of `CompleteMultipartUpload`,
    /// <https://github.com/openaddresses/machine/issues/429>.
    FailsToComplete(usize),
    /// Returns `ETag`s that look like an MD5 but are none, as encrypted buckets do. Source:
    /// `ETag` in Amazon's API reference of `Object`.
    OpaqueETags,
    /// The same for objects only: parts have an MD5.
    OpaqueObjectETags,
    /// The same for parts only: objects have an MD5.
    OpaquePartETags,
    /// Answers a completion with 200 and nothing else.
    CompletesSilently,
    /// Keeps versions: the answer to a write names one. Source: `x-amz-version-id` in Amazon's API
    /// reference of `PutObject`.
    KeepsVersions,
    /// Takes content only with a digest that it verifies, as a bucket with a lock. Source:
    /// `Content-MD5` in Amazon's API reference of `PutObject`.
    DemandsDigest,
    /// Never deletes an object, as a bucket with a lock. Source: "How S3 Object Lock works" in
    /// Amazon's user guide.
    KeepsObjects,
    /// Neither deletes an object nor writes over one, in `MinIO`'s words. Source: `ErrObjectLocked`
    /// in `cmd/api-errors.go` of <https://github.com/minio/minio>.
    WriteOnce,
    /// Is behind a cache for tars: HEAD arrives as GET, the cache has the whole object and answers
    /// ranges and `If-Match` itself, and it keeps a 404. Source: `proxy_cache`,
    /// `proxy_cache_convert_head` in nginx's `ngx_http_proxy_module`.
    CachesTars,
    /// Is behind a cache that keeps a 404 of a tar.
    CachesNotFound,
    /// Is behind a proxy that sends GET for HEAD. Source: as [`Quirk::CachesTars`].
    HeadAsGet,
    /// Is behind a proxy that drops `Range`, so that the whole object comes back.
    DropsRange,
    /// Is behind a proxy that drops `If-Match`.
    DropsIfMatch,
    /// Is behind a proxy that makes all `ETag`s weak, and none matches, as one that compresses. Source:
    /// `ngx_http_weak_etag` in nginx's `ngx_http_gzip_filter_module`.
    WeakETags,
    /// Sends a range with status 200. Source: `serve s3` of <https://github.com/rclone/rclone>.
    RangeAs200,
    /// Is behind a proxy that changes the type of content.
    ChangesContentType,
    /// Is behind a proxy that encodes paths a second time. Source: `proxy_pass` with a path, in
    /// nginx's `ngx_http_proxy_module`.
    EncodesTwice,
    /// Is behind a proxy that refuses quotes and brackets, as firewalls for web applications do.
    RefusesBrackets,
    /// Has a policy that allows to list one folder only: `StringEquals` on `s3:prefix`. Source:
    /// "Bucket policy examples using condition keys" in Amazon's user guide.
    ListsFolderOnly,
    /// Is behind a proxy that denies names with a dot at the start.
    DeniesDotfiles,
    /// Is behind a proxy that refuses bodies above this many bytes. Source: `client_max_body_size`
    /// in nginx's `ngx_http_core_module`.
    MaxBody(usize),
    /// Is behind a proxy that cuts bodies above this many bytes.
    CutsBodiesAbove(usize),
    /// Refuses multi-object deletion, in Google's words. Source:
    /// <https://github.com/minio/mc/issues/4778>.
    NoBulkDelete,
    /// Requires virtual-hosted addressing, in Alibaba's words. Sources:
    /// <https://github.com/peak/s5cmd/issues/518>,
    /// <https://github.com/treeverse/lakeFS/issues/3613>.
    VirtualHostsOnly,
    /// Lists at most this many objects or unfinished uploads per page, regardless of the
    /// request. Source: `MaxKeys` in Amazon's API reference of `ListObjectsV2` ("might contain
    /// fewer keys").
    PageSize(i32),
    /// Claims in listings that keys are encoded, and leaves plus signs in them. Source: Go's
    /// `url.PathEscape`, which leaves them, beside `url.QueryEscape`, which does not.
    LeavesPlusSigns,
    /// Claims in listings that keys are encoded, and encodes nothing. Source:
    /// `list_url_encode` in <https://rclone.org/s3/>, which is off for such providers.
    LeavesKeys,
    /// Has this region, and names it when a request is signed for another. Sources:
    /// <https://github.com/peak/s5cmd/issues/325>,
    /// <https://github.com/aws/aws-sdk-cpp/issues/1339>.
    Region(&'static str),
    /// Has this region, and redirects requests signed for another; only a header names the
    /// region. Source: <https://github.com/yanganto/s3rs/issues/18>.
    RedirectsTo(&'static str),
    /// Accepts only these storage classes. Sources:
    /// <https://github.com/minio/minio/issues/5469>,
    /// <https://github.com/distribution/distribution/issues/4857>.
    StorageClasses(&'static [&'static str]),
    /// Has a clock this many minutes ahead, and refuses a skew of more than 15 minutes. Source:
    /// <https://github.com/versity/versitygw/issues/1514>.
    ClockAhead(i64),
    /// Denies this IAM action to the access key. Source: "Actions, resources, and condition
    /// keys for Amazon S3" in Amazon's service authorization reference.
    Denies(&'static str),
    /// Has an exhausted quota: 403, as answered by Ceph and Versity. Source:
    /// <https://github.com/versity/versitygw/pull/503>.
    QuotaExceeded,
    /// Has full disks: 507, as answered by `MinIO`. Source: `XMinioStorageFull` in
    /// `cmd/api-errors.go` of <https://github.com/minio/minio>.
    StorageFull,
    /// Has an expired session token. Source: <https://github.com/romange/helio/issues/15>.
    TokenExpired,
    /// Refuses certain requests in a provider's words.
    Says(&'static Saying),
    /// Has this region, and blames the key for another one. Source: Oracle Cloud, as quoted in
    /// <https://github.com/minio/mc/issues/4329>.
    RegionInWords(&'static str),
    /// Knows its buckets in this jurisdiction only, as Cloudflare R2. Source:
    /// <https://github.com/lvillis/s3-rs/issues/2>.
    Jurisdiction(&'static str),
    /// The same, and tells the key nothing about names elsewhere: 403.
    HiddenJurisdiction(&'static str),
    /// Has a bucket policy that denies objects without `AES256`. Source: the message of Amazon in
    /// <https://github.com/noobaa/noobaa-core/issues/10060>, the policy in "Protecting data with
    /// server-side encryption" in its user guide.
    DemandsEncryption,
}

/// A refusal in a provider's words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Saying {
    /// Requests: `any`, or method and level, such as `PUT object`.
    pub(crate) to: &'static str,
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

/// The quirks of one server.
#[derive(Debug, Clone, Default)]
struct Quirks(Vec<Quirk>);

impl Quirks {
    fn has(&self, quirk: &Quirk) -> bool {
        self.0.contains(quirk)
    }

    /// The first value that `value` extracts from a quirk.
    fn find<'q, T>(&'q self, value: impl Fn(&'q Quirk) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(value)
    }

    /// The skew of the server's clock.
    fn clock_offset(&self) -> chrono::TimeDelta {
        let minutes = self.find(|quirk| match quirk {
            Quirk::ClockAhead(minutes) => Some(*minutes),
            _ => None,
        });
        chrono::TimeDelta::minutes(minutes.unwrap_or_default())
    }
}
