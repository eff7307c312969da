//! The proxy of a location.

use url::Url;

use super::reader::Reader;
use super::secret::Secret;
use crate::error::Reason;

/// Port of a SOCKS proxy whose URL has none. Source: RFC 1928, section 3.
const SOCKS_PORT: u16 = 1080;

/// The proxy of a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// The one with this URL, which may hold a password.
    Url(Secret),
    /// The one that the variables of the environment name.
    Environment,
}

/// A variable of the environment that names a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVariable {
    /// `https_proxy`
    Https,
    /// `HTTPS_PROXY`
    UpperHttps,
    /// `http_proxy`
    Http,
    /// `HTTP_PROXY`
    UpperHttp,
    /// `all_proxy`
    All,
    /// `ALL_PROXY`
    UpperAll,
}

impl ProxyVariable {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https_proxy",
            Self::UpperHttps => "HTTPS_PROXY",
            Self::Http => "http_proxy",
            Self::UpperHttp => "HTTP_PROXY",
            Self::All => "all_proxy",
            Self::UpperAll => "ALL_PROXY",
        }
    }

    /// Those for URLs of this scheme. As with curl, lower case goes first.
    #[must_use]
    pub fn of_scheme(scheme: &str) -> [Self; 4] {
        match scheme {
            "https" => [Self::Https, Self::UpperHttps, Self::All, Self::UpperAll],
            _ => [Self::Http, Self::UpperHttp, Self::All, Self::UpperAll],
        }
    }
}

/// The error of a text that is no proxy's URL.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum BadProxy {
    /// Version 4 of SOCKS, or 4a.
    #[error("is a SOCKS4 proxy: write socks5h:// or socks5:// if the proxy speaks version 5")]
    Socks4,
    /// Anything else.
    #[error(
        "must be a URL such as \"http://proxy.example.com:3128\" or \"socks5h://proxy.example.com:1080\""
    )]
    NoUrl,
}

impl Proxy {
    pub(super) fn read(section: &mut Reader<'_>) -> Option<Self> {
        let text = section.text("proxy")?;
        if text == "environment" {
            return Some(Self::Environment);
        }
        match proxy_url(&text) {
            Ok(url) => Some(Self::Url(Secret::new(url.as_str()))),
            Err(error) => {
                let problem = section.problem("proxy", error.to_string());
                problem.of_kind("not_a_proxy", []);
                problem.reason = error.reason();
                None
            }
        }
    }
}

impl BadProxy {
    const fn reason(self) -> Option<Reason> {
        match self {
            Self::Socks4 => Some(Reason::ProxyWithSocks4),
            Self::NoUrl => None,
        }
    }
}

/// Reads the URL of a proxy: of HTTP, or of SOCKS5 (`socks5h` leaves the names to the proxy).
///
/// # Errors
/// What to write instead.
pub fn proxy_url(text: &str) -> Result<Url, BadProxy> {
    let mut url = Url::parse(text).map_err(|_| BadProxy::NoUrl)?;
    match url.scheme() {
        "http" | "https" if url.has_host() => {}
        "socks5" | "socks5h" if url.host_str().is_some_and(|host| !host.is_empty()) => {
            let port = url.port().unwrap_or(SOCKS_PORT);
            url.set_port(Some(port)).map_err(|()| BadProxy::NoUrl)?;
        }
        // Some tools mean version 4 by "socks".
        "socks" | "socks4" | "socks4a" => return Err(BadProxy::Socks4),
        _ => return Err(BadProxy::NoUrl),
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_is_http_or_socks5() {
        for (text, url) in [
            ("http://proxy:3128", "http://proxy:3128/"),
            ("https://ada:secret@proxy", "https://ada:secret@proxy/"),
            ("socks5://192.0.2.7", "socks5://192.0.2.7:1080"),
            ("socks5h://a:b@[::1]:9050", "socks5h://a:b@[::1]:9050"),
        ] {
            assert_eq!(proxy_url(text).unwrap().as_str(), url);
        }
        for text in ["socks4://proxy:1080", "socks4a://proxy", "socks://proxy"] {
            assert!(matches!(proxy_url(text), Err(BadProxy::Socks4)), "{text}");
        }
        for text in [
            "",
            "proxy:3128",
            "ftp://proxy",
            "socks5://",
            "socks5h:proxy",
        ] {
            assert!(matches!(proxy_url(text), Err(BadProxy::NoUrl)), "{text}");
        }
    }
}
