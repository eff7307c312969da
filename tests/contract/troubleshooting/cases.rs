//! The table.

use crate::lab::quirks::Certificate;
use crate::lab::{Location, Quirk};

/// A common failure.
pub(super) struct Case {
    /// The cause, in a user's words after finding it.
    pub(super) title: &'static str,
    /// All ways to reproduce the case.
    pub(super) made: &'static [Made],
    pub(super) outcome: Outcome,
    /// The setting for which `check` suggests a working value.
    pub(super) offers: Option<&'static str>,
    /// Words required in the hint.
    pub(super) hint: &'static [&'static str],
}

/// Result of `check`.
pub(super) enum Outcome {
    /// A step fails.
    Fails {
        step: &'static str,
        code: &'static str,
        reason: &'static str,
    },
    /// It succeeds with a note about a setting.
    Notes {
        key: &'static str,
        reason: &'static str,
    },
}

/// A way to reproduce a case: a server, and a change to a working location.
pub(super) enum Made {
    /// The real server.
    Garage(Change),
    /// A deviating server.
    Imitation(&'static [Quirk], Change),
    /// A server with TLS, whose authority is in the settings.
    Tls(Certificate, Change),
    /// A port without a listener.
    Closed,
    /// A port that accepts connections and stays silent.
    Silent,
    /// A web server with this answer to everything.
    WebServer(&'static str),
    /// The same, with changed settings.
    Answering(&'static str, Change),
}

pub(super) type Change = fn(Location) -> Location;

const NO_CHANGE: Change = |location| location;

/// A provider's web site instead of its API.
const WEB_PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n\
    <!DOCTYPE html><html><head><title>Storage</title></head><body>Welcome</body></html>";

/// Another server on the same host, such as Home Assistant itself.
const NOT_FOUND: &str =
    "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n404: Not Found";

/// The login page of a router or an appliance.
const LOGIN: &str =
    "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// nginx's answer to plain HTTP on its TLS port. Source: `ngx_http_error_497_page` in nginx's
/// `src/http/ngx_http_special_response.c`.
const NGINX_WANTS_TLS: &str = "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\n\
    Connection: close\r\n\r\n<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\
    <body><center><h1>400 Bad Request</h1></center>\
    <center>The plain HTTP request was sent to HTTPS port</center></body></html>";

/// The answer of servers written in Go, `MinIO` among them. Source: `net/http/server.go` of Go.
const GO_WANTS_TLS: &str =
    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// A reverse proxy that redirects everything to its TLS port. All such servers of the tests share
/// the address.
const REDIRECTS_TO_TLS: &str = "HTTP/1.1 301 Moved Permanently\r\nLocation: https://127.0.0.1/\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// Keeps requests on this machine: nothing listens on this port.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A proxy's answer to unauthenticated clients.
const PROXY_WANTS_PASSWORD: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Basic realm=\"proxy\"\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n\
    <html><body>Cache Access Denied</body></html>";

const fn fails(step: &'static str, code: &'static str, reason: &'static str) -> Outcome {
    Outcome::Fails { step, code, reason }
}

const fn notes(key: &'static str, reason: &'static str) -> Outcome {
    Outcome::Notes { key, reason }
}

fn unknown_key(location: Location) -> Location {
    Location {
        key_id: "GK000000000000000000000000".into(),
        ..location
    }
}

fn wrong_secret(location: Location) -> Location {
    Location {
        secret: "0".repeat(64),
        ..location
    }
}

fn no_such_bucket(location: Location) -> Location {
    Location {
        bucket: "no-such-bucket".into(),
        ..location
    }
}

fn region_by_hand(location: Location) -> Location {
    Location {
        region: "eu-west-1".into(),
        ..location
    }
}

fn other_scheme(location: Location) -> Location {
    let (scheme, host) = location.endpoint.split_once("://").unwrap();
    let scheme = if scheme == "http" { "https" } else { "http" };
    Location {
        endpoint: format!("{scheme}://{host}"),
        ..location
    }
}

fn without_scheme(location: Location) -> Location {
    let (_, host) = location.endpoint.split_once("://").unwrap();
    Location {
        endpoint: host.to_owned(),
        ..location
    }
}

/// As shown by Cloudflare's dashboard. Source: "S3 API" in the settings of an R2 bucket.
fn path_of_r2(location: Location) -> Location {
    let account = "0123456789abcdef0123456789abcdef";
    let location = Location {
        provider: "cloudflare_r2".into(),
        endpoint: format!(
            "https://{account}.r2.cloudflarestorage.com/{}",
            location.bucket
        ),
        ..location
    };
    location.with("account_id", account).with("proxy", NOWHERE)
}

fn bucket_before_host(location: Location) -> Location {
    let endpoint = format!("https://{}.s3.eu-central-1.amazonaws.com", location.bucket);
    Location {
        provider: "aws".into(),
        endpoint,
        ..location
    }
    .with("proxy", NOWHERE)
}

/// The endpoint's server is also the proxy, reached with and without a tunnel.
fn through_it(location: Location) -> Location {
    let proxy = location.endpoint.clone();
    location.with("proxy", &proxy)
}

/// The same, through a tunnel.
fn through_it_with_tls(location: Location) -> Location {
    other_scheme(through_it(location))
}

fn not_trusting(location: Location) -> Location {
    Location {
        options: Vec::new(),
        ..location
    }
}

pub(super) const CASES: &[Case] = &[
    Case {
        title: "The access key ID is wrong, or deleted at the provider",
        made: &[Made::Garage(unknown_key), Made::Imitation(&[], unknown_key)],
        outcome: fails("signature", "storage_auth", "unknown_key"),
        offers: None,
        hint: &["access key ID", "new key"],
    },
    Case {
        title: "The secret access key is wrong",
        made: &[
            Made::Garage(wrong_secret),
            Made::Imitation(&[], wrong_secret),
        ],
        outcome: fails("signature", "storage_auth", "wrong_secret"),
        offers: None,
        hint: &["secret access key"],
    },
    Case {
        title: "The session token of a temporary key has expired",
        made: &[Made::Imitation(&[Quirk::TokenExpired], |location| {
            location.with("session_token", "an-old-token")
        })],
        outcome: fails("signature", "storage_auth", "expired_token"),
        offers: None,
        hint: &["session token"],
    },
    Case {
        title: "The region is wrong",
        made: &[
            Made::Garage(region_by_hand),
            Made::Imitation(&[Quirk::Region("eu-central-7")], region_by_hand),
            Made::Imitation(&[Quirk::RedirectsTo("eu-central-7")], region_by_hand),
        ],
        outcome: fails("region", "wrong_region", "wrong_region"),
        offers: Some("region"),
        hint: &["region"],
    },
    Case {
        title: "The bucket does not exist, or its name is misspelt",
        made: &[
            Made::Garage(no_such_bucket),
            Made::Imitation(&[], no_such_bucket),
        ],
        outcome: fails("bucket", "bucket_not_found", "bucket_not_found"),
        offers: None,
        hint: &["bucket's name"],
    },
    Case {
        title: "The key may not list the bucket (`s3:ListBucket`)",
        made: &[Made::Imitation(
            &[Quirk::Denies("s3:ListBucket")],
            NO_CHANGE,
        )],
        outcome: fails("list", "storage_forbidden", "action_denied"),
        offers: None,
        hint: &["permission to list", "s3:ListBucket"],
    },
    Case {
        title: "The key may not write (`s3:PutObject`)",
        made: &[Made::Imitation(&[Quirk::Denies("s3:PutObject")], NO_CHANGE)],
        outcome: fails("write", "storage_forbidden", "action_denied"),
        offers: None,
        hint: &["permission to write", "s3:PutObject"],
    },
    Case {
        title: "The key may not abort an upload (`s3:AbortMultipartUpload`)",
        made: &[Made::Imitation(
            &[Quirk::Denies("s3:AbortMultipartUpload")],
            NO_CHANGE,
        )],
        outcome: fails("multipart", "storage_forbidden", "action_denied"),
        offers: None,
        hint: &["permission to abort", "s3:AbortMultipartUpload"],
    },
    Case {
        title: "The key may not read (`s3:GetObject`)",
        made: &[Made::Imitation(&[Quirk::Denies("s3:GetObject")], NO_CHANGE)],
        outcome: fails("read", "storage_forbidden", "action_denied"),
        offers: None,
        hint: &["permission to read", "s3:GetObject"],
    },
    Case {
        title: "The key may not delete (`s3:DeleteObject`)",
        made: &[Made::Imitation(
            &[Quirk::Denies("s3:DeleteObject")],
            NO_CHANGE,
        )],
        outcome: fails("delete", "storage_forbidden", "action_denied"),
        offers: None,
        hint: &["permission to delete", "s3:DeleteObject"],
    },
    Case {
        title: "This machine's clock is off by more than 15 minutes",
        made: &[
            Made::Imitation(&[Quirk::ClockAhead(20)], NO_CHANGE),
            Made::Imitation(&[Quirk::ClockAhead(-20)], NO_CHANGE),
        ],
        outcome: fails("clock", "clock_skew", "clock_skew"),
        offers: None,
        hint: &["clock"],
    },
    Case {
        title: "The server's certificate is signed by an authority of one's own, or by itself",
        made: &[
            Made::Tls(Certificate::Good, not_trusting),
            Made::Tls(Certificate::SelfSigned, NO_CHANGE),
        ],
        outcome: fails("tls", "storage_certificate", "certificate_unknown"),
        offers: None,
        hint: &["ca_certificate"],
    },
    Case {
        title: "The server's certificate has expired",
        made: &[Made::Tls(Certificate::Expired, NO_CHANGE)],
        outcome: fails("tls", "storage_certificate", "certificate_expired"),
        offers: None,
        hint: &["Renew"],
    },
    Case {
        title: "The server's certificate is for another host name",
        made: &[Made::Tls(Certificate::OtherName, NO_CHANGE)],
        outcome: fails("tls", "storage_certificate", "certificate_other_name"),
        offers: None,
        hint: &["host name"],
    },
    Case {
        title: "The endpoint starts with https://, and the port speaks plain HTTP",
        made: &[
            Made::Garage(other_scheme),
            Made::Imitation(&[], other_scheme),
        ],
        outcome: fails("tls", "storage_certificate", "no_tls"),
        offers: Some("endpoint"),
        hint: &["http://"],
    },
    Case {
        title: "The endpoint starts with http://, and the port speaks TLS",
        made: &[Made::Tls(Certificate::Good, other_scheme)],
        outcome: fails("connect", "storage_error", "tls_needed"),
        offers: Some("endpoint"),
        hint: &["https://"],
    },
    Case {
        // These have no TLS, and `check` suggests only working settings.
        title: "The same, and the server answers that it wants HTTPS, as nginx and MinIO do",
        made: &[
            Made::WebServer(NGINX_WANTS_TLS),
            Made::WebServer(GO_WANTS_TLS),
        ],
        outcome: fails("connect", "storage_error", "tls_needed"),
        offers: None,
        hint: &["https://"],
    },
    Case {
        title: "The endpoint starts with http://, and the server redirects to https://",
        made: &[Made::WebServer(REDIRECTS_TO_TLS)],
        outcome: fails("connect", "storage_error", "tls_needed"),
        offers: None,
        hint: &["https://"],
    },
    Case {
        title: "Nothing listens at the endpoint's port, or the server is down",
        made: &[Made::Closed],
        outcome: fails("connect", "storage_unreachable", "connection_refused"),
        offers: None,
        hint: &["port"],
    },
    Case {
        title: "The endpoint's host name does not exist",
        made: &[Made::Imitation(&[], |location| Location {
            endpoint: "https://s3.home.invalid".into(),
            ..location
        })],
        outcome: fails("resolve", "storage_unreachable", "host_unknown"),
        offers: None,
        hint: &["spelling", "DNS"],
    },
    Case {
        title: "The proxy's host name does not exist",
        made: &[Made::Imitation(&[], |location| {
            location.with("proxy", "http://proxy.home.invalid:3128")
        })],
        outcome: fails("resolve", "storage_unreachable", "proxy_failed"),
        offers: None,
        hint: &["proxy"],
    },
    Case {
        title: "Nothing listens at the proxy's port",
        made: &[Made::Imitation(&[], |location| {
            location.with("proxy", NOWHERE)
        })],
        outcome: fails("connect", "storage_unreachable", "proxy_failed"),
        offers: None,
        hint: &["proxy"],
    },
    Case {
        title: "The proxy wants a user and a password, or others",
        made: &[Made::Answering(PROXY_WANTS_PASSWORD, through_it)],
        outcome: fails("connect", "storage_error", "proxy_failed"),
        offers: None,
        hint: &["proxy", "password"],
    },
    Case {
        title: "The same, on the way to an endpoint with TLS",
        made: &[Made::Answering(PROXY_WANTS_PASSWORD, through_it_with_tls)],
        outcome: fails("tls", "storage_error", "proxy_failed"),
        offers: None,
        hint: &["proxy", "password"],
    },
    Case {
        title: "The server takes the connection and does not answer",
        made: &[Made::Silent],
        outcome: fails("connect", "storage_timeout", "storage_timeout"),
        offers: None,
        hint: &["slow"],
    },
    Case {
        title: "What answers at the endpoint is a web page, not an S3 server",
        made: &[
            Made::WebServer(WEB_PAGE),
            Made::WebServer(NOT_FOUND),
            Made::WebServer(LOGIN),
        ],
        outcome: fails("list", "storage_error", "not_s3"),
        offers: None,
        hint: &["endpoint"],
    },
    Case {
        title: "The provider asks to slow down, again and again",
        made: &[Made::Imitation(&[Quirk::SlowDownEvery(1)], NO_CHANGE)],
        outcome: fails("list", "storage_throttled", "storage_throttled"),
        offers: None,
        hint: &["slow down"],
    },
    Case {
        title: "The quota is used up, or the server's disks are full",
        made: &[
            Made::Imitation(&[Quirk::QuotaExceeded], NO_CHANGE),
            Made::Imitation(&[Quirk::StorageFull], NO_CHANGE),
        ],
        outcome: fails("write", "storage_full", "storage_full"),
        offers: None,
        hint: &["quota"],
    },
    Case {
        title: "The provider does not know the storage class",
        made: &[Made::Imitation(
            &[Quirk::StorageClasses(&["STANDARD"])],
            |location| location.with("storage_class", "STANDARD_IA"),
        )],
        outcome: fails("multipart", "storage_error", "unknown_storage_class"),
        offers: None,
        hint: &["storage_class"],
    },
    Case {
        title: "The endpoint has no http:// or https:// before the host",
        made: &[
            Made::Tls(Certificate::Good, without_scheme),
            Made::Tls(Certificate::Good, |location| {
                let location = without_scheme(location);
                Location {
                    endpoint: location.endpoint.replace("127.0.0.1", "localhost"),
                    ..location
                }
            }),
        ],
        outcome: fails("settings", "invalid_request", "endpoint_without_scheme"),
        offers: Some("endpoint"),
        hint: &["https://"],
    },
    Case {
        title: "The endpoint has the bucket after the host",
        made: &[Made::Garage(|location| Location {
            endpoint: format!("{}/{}", location.endpoint, location.bucket),
            ..location
        })],
        outcome: fails("settings", "invalid_request", "endpoint_with_bucket"),
        offers: Some("endpoint"),
        hint: &["bucket"],
    },
    Case {
        title: "The endpoint has the bucket before the host",
        made: &[Made::Imitation(&[], bucket_before_host)],
        outcome: fails("settings", "invalid_request", "endpoint_with_bucket"),
        offers: Some("endpoint"),
        hint: &["bucket"],
    },
    Case {
        title: "The endpoint of Cloudflare R2 is pasted with the bucket, as the dashboard shows it",
        made: &[Made::Imitation(&[], path_of_r2)],
        outcome: fails("settings", "invalid_request", "endpoint_with_bucket"),
        offers: Some("endpoint"),
        hint: &["bucket"],
    },
    Case {
        title: "The endpoint has a path",
        made: &[Made::Garage(|location| Location {
            endpoint: format!("{}/s3/api", location.endpoint),
            ..location
        })],
        outcome: fails("settings", "invalid_request", "endpoint_with_path"),
        offers: Some("endpoint"),
        hint: &["host and port"],
    },
    Case {
        title: "There are spaces or line ends around the pasted access key ID",
        made: &[Made::Garage(|location| Location {
            key_id: format!(" {}\n", location.key_id),
            ..location
        })],
        outcome: notes("access_key_id", "spaces_removed"),
        offers: None,
        hint: &["spaces"],
    },
    Case {
        title: "There are spaces or line ends around the pasted secret access key",
        made: &[Made::Garage(|location| Location {
            secret: format!("{}\t ", location.secret),
            ..location
        })],
        outcome: notes("secret_access_key", "spaces_removed"),
        offers: None,
        hint: &["spaces"],
    },
];
