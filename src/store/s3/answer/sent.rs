//! Optional settings that a request carried, which a refusal without words may be about.

use http::HeaderMap;

/// An optional setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Setting {
    /// `storage_class`.
    StorageClass,
    /// `encryption` with the provider's keys.
    Aes256,
    /// `encryption` with a key of the key service.
    Kms,
    /// `encryption` with the user's own key.
    Customer,
    /// `checksum`, in a header of its own.
    Checksum,
}

/// Returns the settings in the headers of a request.
pub(super) fn of(headers: &HeaderMap) -> Vec<Setting> {
    let encryption =
        headers
            .get("x-amz-server-side-encryption")
            .map(|value| match value.as_bytes() {
                b"AES256" => Setting::Aes256,
                _ => Setting::Kms,
            });
    let with = |name: &str, setting| headers.contains_key(name).then_some(setting);
    let is_checksum = |name: &str| name.starts_with("x-amz-checksum-") && !name.ends_with("-mode");
    let checksum = headers.keys().any(|name| is_checksum(name.as_str()));
    [
        with("x-amz-storage-class", Setting::StorageClass),
        encryption,
        with(
            "x-amz-server-side-encryption-customer-algorithm",
            Setting::Customer,
        ),
        checksum.then_some(Setting::Checksum),
    ]
    .into_iter()
    .flatten()
    .collect()
}
