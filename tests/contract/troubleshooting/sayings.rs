//! Refusals in the words of providers.

use crate::lab::quirks::Saying;

/// Amazon's. Source: <https://github.com/versity/versitygw/issues/1565>.
pub(super) const OBJECT_LOCK: Saying = Saying {
    to: "DELETE object",
    status: 403,
    code: "AccessDenied",
    message: "Access Denied because object protected by object lock.",
};

/// `MinIO`'s. Source: <https://github.com/versity/versitygw/issues/1330>.
pub(super) const WORM: Saying = Saying {
    to: "PUT object",
    status: 400,
    code: "InvalidRequest",
    message: "Object is WORM protected and cannot be overwritten.",
};

/// Google's. Source: <https://github.com/sitespeedio/sitespeed.io/issues/2749>.
pub(super) const RETENTION: Saying = Saying {
    to: "PUT object",
    status: 403,
    code: "AccessDenied",
    message: "Object 'ha-backups/x' is subject to bucket's retention policy and cannot be deleted, overwritten or \
              archived until 2027-11-07",
};

/// Ceph's, without a message. Source: `ERR_USER_SUSPENDED` in `rgw_common.cc` of <https://github.com/ceph/ceph>.
pub(super) const SUSPENDED: Saying = Saying {
    to: "any",
    status: 403,
    code: "UserSuspended",
    message: "",
};

/// Source: "Error responses" in Amazon's API reference.
pub(super) const ACCOUNT_PROBLEM: Saying = Saying {
    to: "any",
    status: 403,
    code: "AccountProblem",
    message: "There is a problem with your AWS account that prevents the operation from completing successfully.",
};

/// Source: `s3err` of <https://github.com/versity/versitygw>.
pub(super) const TOO_EARLY: Saying = Saying {
    to: "any",
    status: 403,
    code: "SignatureDoesNotMatch",
    message: "Signature not yet current: 20261130T103640Z is still later than 20261130T095140Z (20261130T093640Z + 15 min.)",
};

/// Source: "Error responses" in Amazon's API reference.
pub(super) const INTERNAL: Saying = Saying {
    to: "any",
    status: 500,
    code: "InternalError",
    message: "We encountered an internal error. Please try again.",
};

/// The same for requests that write.
pub(super) const INTERNAL_ON_WRITE: Saying = Saying {
    to: "PUT object",
    ..INTERNAL
};

/// `MinIO`'s. Source: <https://github.com/minio/minio/issues/6367>.
pub(super) const NO_KMS: Saying = Saying {
    to: "PUT object",
    status: 501,
    code: "NotImplemented",
    message: "Server side encryption specified but KMS is not configured",
};

/// Ceph's. Source: `rgw_crypt.cc` of <https://github.com/ceph/ceph>.
pub(super) const KMS_WITHOUT_KEY: Saying = Saying {
    to: "PUT object",
    status: 400,
    code: "InvalidArgument",
    message: "Server Side Encryption with KMS managed key requires HTTP header x-amz-server-side-encryption-aws-kms-key-id",
};

/// Amazon's. Source: "Troubleshoot access denied errors" in its user guide.
pub(super) const KMS_DENIED: Saying = Saying {
    to: "PUT object",
    status: 403,
    code: "AccessDenied",
    message: "User: arn:aws:iam::111122223333:user/ha is not authorized to perform: kms:GenerateDataKey on the resource \
              associated with this ciphertext because no identity-based policy allows it",
};

/// Cloudflare R2's. Source: <https://github.com/gobackup/gobackup/issues/182>.
pub(super) const NO_STORAGE_CLASSES: Saying = Saying {
    to: "PUT object",
    status: 501,
    code: "NotImplemented",
    message: "Header 'x-amz-storage-class' with value 'GLACIER_IR' not implemented",
};
