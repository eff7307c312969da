//! Causes of the cases: answers of other servers, and wrong settings.

use super::case::Change;
use crate::lab::Location;

pub(super) const NO_CHANGE: Change = |location| location;

/// A provider's web site instead of its API.
pub(super) const WEB_PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n\
    <!DOCTYPE html><html><head><title>Storage</title></head><body>Welcome</body></html>";

/// Another server on the same host, such as Home Assistant itself.
pub(super) const NOT_FOUND: &str =
    "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n404: Not Found";

/// The login page of a router or an appliance.
pub(super) const LOGIN: &str =
    "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// nginx's answer to plain HTTP on its TLS port. Source: `ngx_http_error_497_page` in nginx's
/// `src/http/ngx_http_special_response.c`.
pub(super) const NGINX_WANTS_TLS: &str = "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\n\
    Connection: close\r\n\r\n<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\
    <body><center><h1>400 Bad Request</h1></center>\
    <center>The plain HTTP request was sent to HTTPS port</center></body></html>";

/// The answer of servers written in Go, `MinIO` among them. Source: `net/http/server.go` of Go.
pub(super) const GO_WANTS_TLS: &str =
    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// A reverse proxy that redirects everything to its TLS port. All such servers of the tests share
/// the address.
pub(super) const REDIRECTS_TO_TLS: &str = "HTTP/1.1 301 Moved Permanently\r\nLocation: https://127.0.0.1/\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// Nginx's page while its server is down.
pub(super) const UNAVAILABLE_PAGE: &str = "HTTP/1.1 503 Service Temporarily Unavailable\r\n\
    Content-Type: text/html\r\nConnection: close\r\n\r\n\
    <html><head><title>503 Service Temporarily Unavailable</title></head><body>nginx</body></html>";

/// Keeps requests on this machine: nothing listens on this port.
pub(super) const NOWHERE: &str = "http://127.0.0.1:9";

/// A proxy's answer to unauthenticated clients.
pub(super) const PROXY_WANTS_PASSWORD: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Basic realm=\"proxy\"\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n\
    <html><body>Cache Access Denied</body></html>";

pub(super) fn unknown_key(location: Location) -> Location {
    Location {
        key_id: "GK000000000000000000000000".into(),
        ..location
    }
}

pub(super) fn wrong_secret(location: Location) -> Location {
    Location {
        secret: "0".repeat(64),
        ..location
    }
}

pub(super) fn swapped_keys(location: Location) -> Location {
    Location {
        key_id: location.secret.clone(),
        secret: location.key_id.clone(),
        ..location
    }
}

pub(super) fn no_such_bucket(location: Location) -> Location {
    Location {
        bucket: "no-such-bucket".into(),
        ..location
    }
}

pub(super) fn region_by_hand(location: Location) -> Location {
    Location {
        region: "eu-west-1".into(),
        ..location
    }
}

pub(super) fn other_scheme(location: Location) -> Location {
    let (scheme, host) = location.endpoint.split_once("://").unwrap();
    let scheme = if scheme == "http" { "https" } else { "http" };
    Location {
        endpoint: format!("{scheme}://{host}"),
        ..location
    }
}

pub(super) fn without_scheme(location: Location) -> Location {
    let (_, host) = location.endpoint.split_once("://").unwrap();
    Location {
        endpoint: host.to_owned(),
        ..location
    }
}

pub(super) fn at_path(location: Location, path: &str) -> Location {
    Location {
        endpoint: format!("{}/{path}", location.endpoint),
        ..location
    }
}

/// The bucket as this text with its name and the endpoint.
pub(super) fn pasted(location: Location, text: fn(&str, &str) -> String) -> Location {
    Location {
        bucket: text(&location.bucket, &location.endpoint),
        ..location
    }
}

/// As shown by Cloudflare's dashboard. Source: "S3 API" in the settings of an R2 bucket.
pub(super) fn path_of_r2(location: Location) -> Location {
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

pub(super) fn bucket_before_host(location: Location) -> Location {
    let endpoint = format!("https://{}.s3.eu-central-1.amazonaws.com", location.bucket);
    Location {
        provider: "aws".into(),
        endpoint,
        ..location
    }
    .with("proxy", NOWHERE)
}

/// The endpoint's server is also the proxy, reached with and without a tunnel.
pub(super) fn through_it(location: Location) -> Location {
    let proxy = location.endpoint.clone();
    location.with("proxy", &proxy)
}

/// The same, through a tunnel.
pub(super) fn through_it_with_tls(location: Location) -> Location {
    other_scheme(through_it(location))
}

pub(super) fn other_fingerprint(location: Location) -> Location {
    location.with("certificate_sha256", &"ab".repeat(32))
}

pub(super) fn not_trusting(location: Location) -> Location {
    Location {
        options: Vec::new(),
        ..location
    }
}

/// Makes the server the proxy for this host.
pub(super) fn at_host(location: Location, host: &str) -> Location {
    let location = through_it(location);
    Location {
        endpoint: format!("http://{host}"),
        ..location
    }
}

/// An account of Cloudflare R2, whose endpoint lacks the jurisdiction.
pub(super) fn r2_without_jurisdiction(location: Location) -> Location {
    let account = "0123456789abcdef0123456789abcdef";
    at_host(location, &format!("{account}.r2.cloudflarestorage.com"))
}
