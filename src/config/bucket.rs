//! The bucket: its name alone, or taken out of what a user pasted.

use percent_encoding::percent_decode_str;
use url::Url;

use super::reader::Reader;
use crate::error::Reason;
use crate::logging::scrub::without_credentials;
use crate::provider::{self, Provider};

/// The settings around the bucket.
#[derive(Clone, Copy)]
pub(super) struct Around<'s> {
    pub(super) provider: &'static Provider,
    pub(super) region: Option<&'s str>,
    pub(super) endpoint: Option<&'s str>,
}

/// A bucket with all that was written around it.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    bucket: String,
    /// Folder in the bucket, without slashes around it; may be empty.
    folder: String,
    /// URL of the S3 API, where it is another one than the settings say.
    endpoint: Option<Url>,
}

/// Reads the bucket's name, `tenant:bucket` where the server has tenants.
pub(super) fn read(section: &mut Reader<'_>, around: Around<'_>) -> Option<String> {
    let text = section.text("bucket")?;
    let endpoint = endpoint_of(section, around);
    // A name may be a provider's host with the bucket before it.
    if is_name(&text) && host_of(&text, None).is_none() {
        return Some(text);
    }
    if let Some(parts) = take_apart(&text, endpoint.as_ref()) {
        note_parts(section, parts, around);
    } else {
        // The query of a pasted URL may hold a signature.
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        let shown = without_credentials(shown);
        let message = format!(
            "must be the name alone: 3 or more letters, digits, \".\", \"-\" and \"_\", not \"{shown}\""
        );
        section
            .problem("bucket", message)
            .of_kind("not_a_bucket", []);
    }
    None
}

/// The endpoint in the settings, or the one that the provider builds of them.
fn endpoint_of(section: &Reader<'_>, around: Around<'_>) -> Option<Url> {
    match around.endpoint {
        Some(text) => Url::parse(text).ok().filter(Url::has_host),
        None => around.provider.endpoint_for(|name| section.peek(name)).ok(),
    }
}

fn note_parts(section: &mut Reader<'_>, parts: Parts, around: Around<'_>) {
    let mut others = Vec::new();
    let prefix = section.peek("prefix").unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    let is_within = |folder: &str| {
        let rest = prefix.strip_prefix(folder);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !is_within(&parts.folder) && !parts.folder.is_empty() {
        let joined = format!("{}/{prefix}", parts.folder);
        others.push(("prefix", joined.trim_end_matches('/').to_owned()));
    }
    if let Some(endpoint) = &parts.endpoint {
        let url = endpoint.as_str().trim_end_matches('/').to_owned();
        others.push(("endpoint", url));
        let region = provider::of_endpoint(endpoint).and_then(|known| known.region_in(endpoint));
        let is_to_choose = !section.has("provider");
        let known = provider::of_endpoint(endpoint).filter(|_| is_to_choose);
        others.extend(known.map(|known| ("provider", known.id.clone())));
        let is_new = |region: &String| match around.region {
            Some(given) => given != region,
            None => is_to_choose,
        };
        others.extend(region.filter(is_new).map(|region| ("region", region)));
    }
    let write: Vec<_> = [("bucket", &parts.bucket)]
        .into_iter()
        .chain(others.iter().map(|(key, value)| (*key, value)))
        .map(|(key, value)| format!("{key} = \"{value}\""))
        .collect();
    let message = format!(
        "must be the name alone: write {}",
        write.join(", and below it ")
    );
    let problem = section.problem("bucket", message);
    problem.reason = Some(Reason::BucketWithMore);
    problem.suggestion = Some(parts.bucket);
    problem.others = others;
}

/// Source: "Bucket naming rules" in Amazon's user guide; capitals and underscores are in older buckets.
fn is_plain_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (3..=255).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// A bucket's name, with a tenant before it or without. Sources: "Bucket multitenancy" in Ceph's documentation of the object
/// gateway, where an empty tenant is the default one; "S3 URL" in Contabo's documentation.
fn is_name(text: &str) -> bool {
    match text.split_once(':') {
        None => is_plain_name(text),
        Some((tenant, bucket)) => {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            tenant.bytes().all(is_allowed) && is_plain_name(bucket)
        }
    }
}

/// Takes the bucket out of an ARN, a URL or a path.
fn take_apart(text: &str, endpoint: Option<&Url>) -> Option<Parts> {
    if let Some(arn) = text.strip_prefix("arn:") {
        return of_arn(arn);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return match host_of(text, endpoint) {
            Some(url) => of_url(&url, endpoint),
            None => of_path(text),
        };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "s3" | "s3a" | "s3n" | "gs" => of_path(rest),
        "http" | "https" => of_url(&Url::parse(text).ok()?, endpoint),
        _ => None,
    }
}

/// `arn:PARTITION:s3:::BUCKET/FOLDER`; an access point has a region and an account. Source: "Amazon S3 resources" in Amazon's
/// service authorization reference.
fn of_arn(arn: &str) -> Option<Parts> {
    let (_partition, rest) = arn.split_once(':')?;
    of_path(rest.strip_prefix("s3:::")?)
}

/// `BUCKET/FOLDER`, with slashes around it or without.
fn of_path(path: &str) -> Option<Parts> {
    let path = path.trim_end_matches('*').trim_matches('/');
    let (bucket, folder) = path.split_once('/').unwrap_or((path, ""));
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(char::is_control);
    let is_folder = folder.is_empty() || folder.split('/').all(is_segment);
    (is_name(bucket) && is_folder).then(|| Parts {
        bucket: bucket.to_owned(),
        folder: folder.to_owned(),
        endpoint: None,
    })
}

/// The text as a URL without its scheme, if it begins with the endpoint's host or with a known provider's.
fn host_of(text: &str, endpoint: Option<&Url>) -> Option<Url> {
    let url = Url::parse(&format!("https://{text}")).ok()?;
    let host = url.host_str()?;
    let is_endpoint = endpoint
        .and_then(Url::host_str)
        .is_some_and(|own| host == own || host.ends_with(&format!(".{own}")));
    let is_known = provider::of_endpoint(&url).is_some();
    (is_endpoint || is_known).then_some(url)
}

/// The URL of a bucket: the bucket before a known host, or after the endpoint, or else after the host.
fn of_url(url: &Url, endpoint: Option<&Url>) -> Option<Parts> {
    let path = percent_decode_str(url.path()).decode_utf8().ok()?;
    let own = endpoint.filter(|own| is_same_server(url, own));
    // At exactly the endpoint, it is a bucket of that name.
    let is_page = own.is_none_or(|own| own.port_or_known_default() != url.port_or_known_default());
    if let Some(parts) = of_console(&path).filter(|_| is_page) {
        return Some(parts);
    }
    if let Some(own) = own {
        let base = percent_decode_str(own.path()).decode_utf8().ok()?;
        let below = path.strip_prefix(base.trim_end_matches('/'));
        return of_path(below.unwrap_or(&path));
    }
    let host = url.host_str()?;
    let known = provider::of_endpoint(url).and_then(|known| known.bucket_in(url));
    let own_before = endpoint
        .and_then(Url::host_str)
        .and_then(|own| host.strip_suffix(own)?.strip_suffix('.'));
    let mut without = url.clone();
    without.set_query(None);
    without.set_fragment(None);
    without.set_username("").ok()?;
    without.set_password(None).ok()?;
    without.set_path("");
    let parts = match own_before.map(str::to_owned).or(known) {
        Some(bucket) => {
            let rest = host.strip_prefix(&bucket)?.strip_prefix('.')?.to_owned();
            without.set_host(Some(&rest)).ok()?;
            of_path(&format!("{bucket}{path}"))?
        }
        None => of_path(&path)?,
    };
    let is_own =
        endpoint.is_some_and(|own| is_same_server(&without, own) || is_less_exact(&without, own));
    Some(Parts {
        endpoint: (!is_own).then_some(without),
        ..parts
    })
}

/// Whether a provider's URL for all regions was pasted, and the endpoint is that of one of them.
fn is_less_exact(pasted: &Url, endpoint: &Url) -> bool {
    provider::of_endpoint(pasted).is_some_and(|known| {
        known.region_in(pasted).is_none() && known.region_in(endpoint).is_some()
    })
}

/// The bucket in the path of a page about it, whose server may be another one: `/browser/BUCKET` of `MinIO`'s console,
/// `/s3/buckets/BUCKET` of Amazon's. What follows is no folder.
fn of_console(path: &str) -> Option<Parts> {
    let path = path.trim_start_matches('/');
    let pages = ["browser/", "s3/buckets/"];
    let rest = pages.into_iter().find_map(|page| path.strip_prefix(page))?;
    of_path(rest.split('/').next()?)
}

/// Whether a pasted URL leads to the endpoint; a page may show it without its port.
fn is_same_server(pasted: &Url, endpoint: &Url) -> bool {
    let has_same_port = pasted.port_or_known_default() == endpoint.port_or_known_default();
    pasted.host() == endpoint.host() && (pasted.port().is_none() || has_same_port)
}

#[cfg(test)]
mod tests;
