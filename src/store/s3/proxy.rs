//! The way to a host: through the location's proxy, through that of the environment, or without one.

use std::env;
use std::net::IpAddr;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::NoProxy;
use rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::config::{BadProxy, Proxy, ProxyVariable, Secret, Wire, proxy_url};

/// The way to a host.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    /// URL of the proxy, which may hold a password.
    proxy: Option<Secret>,
    /// Hosts that the environment leaves out.
    except: String,
    /// Name in the proxy's own certificate, if it has one, unless the storage has the same host.
    pub(super) tls_name: Option<ServerName<'static>>,
    /// Variable that names a proxy for this host, while the location uses none.
    pub(super) unused: Option<ProxyVariable>,
}

/// A variable that names no proxy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the environment variable {name} {why}")]
pub(super) struct BadVariable {
    name: &'static str,
    why: BadProxy,
}

/// Reads an environment variable.
type Read<'r> = &'r dyn Fn(&str) -> Option<String>;

impl Way {
    /// The way to the host of `url`.
    ///
    /// # Errors
    /// When a variable names a proxy that cannot be used.
    pub(super) fn to(url: &Url, wire: &Wire) -> Result<Self, BadVariable> {
        Self::with(url, wire.proxy.as_ref(), &|name| env::var(name).ok())
    }

    fn with(url: &Url, proxy: Option<&Proxy>, read: Read<'_>) -> Result<Self, BadVariable> {
        match proxy {
            Some(Proxy::Url(proxy)) => Ok(Self::through(proxy.clone(), url)),
            Some(Proxy::Environment) => Self::of_environment(url, read),
            None => Ok(Self {
                unused: named(url, read).map(|(variable, _)| variable),
                ..Self::default()
            }),
        }
    }

    fn of_environment(url: &Url, read: Read<'_>) -> Result<Self, BadVariable> {
        let Some((variable, text)) = named(url, read) else {
            return Ok(Self::default());
        };
        let text = if text.contains("://") {
            text
        } else {
            format!("http://{text}")
        };
        let proxy = proxy_url(&text).map_err(|why| {
            let name = variable.name();
            BadVariable { name, why }
        })?;
        Ok(Self {
            except: exceptions(url, read).join(","),
            ..Self::through(Secret::new(proxy.as_str()), url)
        })
    }

    fn through(proxy: Secret, url: &Url) -> Self {
        let mut way = Self {
            proxy: Some(proxy),
            ..Self::default()
        };
        let proxy = way.proxy().filter(|proxy| proxy.scheme() == "https");
        let other = proxy.filter(|proxy| proxy.host() != url.host());
        way.tls_name = other.and_then(|proxy| server_name(&proxy));
        way
    }

    /// URL of the proxy.
    pub(super) fn proxy(&self) -> Option<Url> {
        Url::parse(self.proxy.as_ref()?.expose()).ok()
    }

    /// Sends all requests of a client this way.
    pub(super) fn set(
        &self,
        client: reqwest::ClientBuilder,
    ) -> reqwest::Result<reqwest::ClientBuilder> {
        let client = client.no_proxy();
        let Some(proxy) = &self.proxy else {
            return Ok(client);
        };
        let proxy = reqwest::Proxy::all(proxy.expose())?;
        Ok(client.proxy(proxy.no_proxy(NoProxy::from_string(&self.except))))
    }
}

fn server_name(url: &Url) -> Option<ServerName<'static>> {
    match url.host()? {
        Host::Domain(name) => ServerName::try_from(name.to_owned()).ok(),
        Host::Ipv4(address) => Some(IpAddr::from(address).into()),
        Host::Ipv6(address) => Some(IpAddr::from(address).into()),
    }
}

/// Returns the variable that names a proxy for this host, and its value.
fn named(url: &Url, read: Read<'_>) -> Option<(ProxyVariable, String)> {
    let variables = ProxyVariable::of_scheme(url.scheme());
    let found = variables
        .into_iter()
        .find_map(|variable| Some((variable, value(variable.name(), read)?)))?;
    (!is_excepted(url, &exceptions(url, read))).then_some(found)
}

fn value(name: &str, read: Read<'_>) -> Option<String> {
    let value = read(name)?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// Entries of `no_proxy` for the port of `url`, without a port.
fn exceptions(url: &Url, read: Read<'_>) -> Vec<String> {
    let list = ["no_proxy", "NO_PROXY"]
        .into_iter()
        .find_map(|name| value(name, read))
        .unwrap_or_default();
    let port = url.port_or_known_default();
    list.split([',', ' '])
        .filter_map(|entry| for_port(entry, port))
        .map(str::to_owned)
        .collect()
}

/// The host of an entry such as `nas`, `.example.com`, `*.example.com`, `192.0.2.0/24`, `[::1]` or `nas:9000`, unless it is
/// for another port.
fn for_port(entry: &str, port: Option<u16>) -> Option<&str> {
    let is_host = |host: &str| !host.contains(':') || host.ends_with(']');
    let split = entry.rsplit_once(':').filter(|(host, _)| is_host(host));
    let host = match split {
        Some((host, own)) => (own.parse().ok() == port).then_some(host)?,
        None => entry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.strip_prefix("*.").unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

fn is_excepted(url: &Url, entries: &[String]) -> bool {
    let Ok(uri) = url.as_str().parse::<http::Uri>() else {
        return false;
    };
    let matcher = Matcher::builder()
        .all("http://proxy")
        .no(entries.join(","))
        .build();
    // For the library, an asterisk stands for names, and not for addresses.
    entries.iter().any(|entry| entry == "*") || matcher.intercept(&uri).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy that these variables name for a URL.
    fn proxy(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let read = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let url = url.parse().unwrap();
        let way = Way::with(&url, Some(&Proxy::Environment), &read).unwrap();
        let unused = Way::with(&url, None, &read).unwrap();
        assert_eq!(way.proxy.is_some(), unused.unused.is_some());
        assert!(unused.proxy.is_none());
        way.proxy().map(|url| url.to_string())
    }

    #[test]
    fn variable_depends_on_the_scheme() {
        let all = [
            ("HTTP_PROXY", "http://plain:1"),
            ("HTTPS_PROXY", "http://tls:2"),
            ("all_proxy", "socks5h://all"),
        ];
        for (url, variables, expected) in [
            ("https://a", &all[..], Some("http://tls:2/")),
            ("http://a", &all[..], Some("http://plain:1/")),
            ("https://a", &all[2..], Some("socks5h://all:1080")),
            ("https://a", &all[..1], None),
            (
                "https://a",
                &[
                    ("HTTPS_PROXY", "http://upper"),
                    ("https_proxy", "lower:8080"),
                ],
                Some("http://lower:8080/"),
            ),
            (
                "https://a",
                &[("https_proxy", " "), ("ALL_PROXY", "x")],
                Some("http://x/"),
            ),
        ] {
            assert_eq!(proxy(url, variables).as_deref(), expected, "{variables:?}");
        }
    }

    #[test]
    fn excepted_hosts_have_no_proxy() {
        for (list, url, is_excepted) in [
            ("nas", "http://nas:9000", true),
            ("nas", "http://other-nas", false),
            ("NAS.local", "http://nas.local", true),
            ("a.example, example.com", "https://s3.example.com", true),
            (".example.com", "https://s3.example.com", true),
            ("*.example.com", "https://s3.example.com", true),
            ("example.com", "https://notexample.com", false),
            ("*", "https://s3.example.com", true),
            ("*", "http://192.0.2.7", true),
            ("192.0.2.7", "http://192.0.2.7:9000", true),
            ("192.0.2.0/24", "http://192.0.2.7:9000", true),
            ("192.0.2.0/24", "http://192.0.3.7", false),
            ("2001:db8::/32", "http://[2001:db8::7]:9000", true),
            ("::1", "http://[::1]", true),
            ("[::1]:9000", "http://[::1]:9000", true),
            ("[::1]:9000", "http://[::1]", false),
            ("nas:9000", "http://nas:9000", true),
            ("nas:9000", "http://nas:9001", false),
            ("example.com:443", "https://s3.example.com", true),
            ("example.com:80", "https://s3.example.com", false),
            ("", "http://nas", false),
        ] {
            for name in ["no_proxy", "NO_PROXY"] {
                let found = proxy(url, &[("ALL_PROXY", "http://proxy"), (name, list)]);
                assert_eq!(found.is_none(), is_excepted, "{name}={list} {url}");
            }
        }
    }

    #[test]
    fn variable_with_another_proxy_is_named() {
        let read = |name: &str| (name == "https_proxy").then(|| "socks4://proxy".to_owned());
        let url = "https://a".parse().unwrap();
        let error = Way::with(&url, Some(&Proxy::Environment), &read).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("https_proxy is a SOCKS4 proxy"), "{said}");
    }
}
