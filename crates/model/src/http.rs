//! The HTTP client under the wires: TLS on ring, no redirects, no proxy for loopback, no environment, no leaked key.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Certificate, Client, NoProxy, Proxy, Url, redirect};

use crate::{Endpoint, ModelError};

/// How servers are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long the server may think before the first byte; local servers load their model in this time.
    pub first_byte_timeout: Duration,
    /// How long it may be silent within an answer; some say nothing while a call is written.
    pub idle_timeout: Duration,
    /// The longest wait that a server may ask for with `Retry-After`; a longer one is an error at once.
    pub max_retry_wait: Duration,
    /// A file of certificate authorities (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A proxy for servers beyond loopback.
    pub proxy: Option<String>,
    /// Hosts that are reached without it, as in the environment variable `NO_PROXY`.
    pub no_proxy: Option<String>,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(300),
            max_retry_wait: Duration::from_secs(20),
            ca_file: None,
            proxy: None,
            no_proxy: None,
        }
    }
}

/// A key that no log and no error shows.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key; surrounding white space, such as the line feed of a file, is no part of it.
    pub fn new(key: &str) -> Self {
        Self(key.trim().to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Replaces the key in words that came from outside.
    pub(crate) fn redact(&self, words: &str) -> String {
        if self.0.len() < 4 { words.to_owned() } else { words.replace(&self.0, "[key]") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// The base URL of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl(Url);

impl BaseUrl {
    /// Reads what people write: with or without a trailing slash, `/v1` or `/chat/completions`.
    pub(crate) fn parse(text: &str) -> Result<Self, ModelError> {
        let refuse = |why: &str| ModelError::Configuration {
            detail: format!("the base URL of the model {why}"),
            hint: "write it like http://127.0.0.1:11434/v1 or https://api.openai.com/v1".to_owned(),
        };
        let mut url = Url::parse(text.trim()).map_err(|error| refuse(&format!("is not a URL ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(refuse("does not begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("holds credentials; give the key as the API key"));
        }
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/chat/completions").unwrap_or(path).trim_end_matches('/').to_owned();
        url.set_path(if path.is_empty() { "/v1" } else { &path });
        Ok(Self(url))
    }

    /// Returns the URL of a path under the base; a query of the base, such as Azure's `api-version`, stays.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{path}", self.0.path()));
        url
    }

    /// Returns the URL of a path at the root of the server.
    pub(crate) fn at_root(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_query(None);
        url.set_path(path);
        url
    }

    pub(crate) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Returns the port, the scheme's own where none is written.
    pub(crate) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let mut shown = self.0.clone();
        shown.set_query(None);
        let shown = shown.to_string();
        if self.is_loopback() { Endpoint::Loopback(shown) } else { Endpoint::Remote(shown) }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        // Not `*.localhost`: some resolvers ask the network for it.
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.endpoint() {
            Endpoint::Loopback(url) | Endpoint::Remote(url) => formatter.write_str(&url),
            Endpoint::InProcess => Ok(()),
        }
    }
}

/// Makes a client for one server.
pub(crate) fn client(url: &BaseUrl, transport: &Transport) -> Result<Client, ModelError> {
    install_crypto();
    let refuse = |detail: String| ModelError::Configuration {
        detail,
        hint: "check the proxy and the certificate file of the configuration".to_owned(),
    };
    let mut builder = Client::builder()
        .user_agent(concat!("reckon/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(transport.connect_timeout)
        // A redirect would carry prompts to a host that nobody named.
        .redirect(redirect::Policy::none())
        .no_proxy();
    if let Some(path) = &transport.ca_file {
        let read =
            std::fs::read(path).map_err(|error| refuse(format!("read {}: {error}", path.display())))?;
        let bundle = Certificate::from_pem_bundle(&read).map_err(|error| {
            refuse(format!("read certificates of {}: {}", path.display(), causes(&error)))
        })?;
        builder = builder.tls_certs_only(bundle);
    } else if !url.is_encrypted() {
        // Plain HTTP needs no authorities, and a bare container may have none.
        builder = builder.tls_certs_only([]);
    }
    if let Some(proxy) = transport.proxy.as_deref().filter(|_| !url.is_loopback()) {
        let proxy =
            Proxy::all(proxy).map_err(|error| refuse(format!("use the proxy: {}", causes(&error))))?;
        let except = transport.no_proxy.as_deref().and_then(NoProxy::from_string);
        builder = builder.proxy(proxy.no_proxy(except));
    }
    builder.build().map_err(|error| refuse(format!("set up the HTTP client: {}", causes(&error))))
}

/// Installs ring as the crypto of TLS, once per process, unless the program chose another before.
fn install_crypto() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // An error means that one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Returns the innermost cause, which is the one that says something ("Connection refused").
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_as_people_write_them() {
        let cases = [
            ("http://localhost:11434", "http://localhost:11434/v1/chat/completions"),
            ("http://localhost:11434/v1/", "http://localhost:11434/v1/chat/completions"),
            ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
            (
                "https://x.openai.azure.com/openai?api-version=1",
                "https://x.openai.azure.com/openai/chat/completions?api-version=1",
            ),
        ];
        for (text, url) in cases {
            assert_eq!(BaseUrl::parse(text).unwrap().join("chat/completions").as_str(), url);
        }
        for text in ["localhost:11434", "ftp://x/y", "https://user:pass@x/v1", "x"] {
            let error = BaseUrl::parse(text).unwrap_err();
            assert!(!error.to_string().contains("pass@"), "{error}");
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for text in ["http://localhost:1/v1", "http://127.0.0.1:1", "http://[::1]:1"] {
            assert!(BaseUrl::parse(text).unwrap().is_loopback(), "{text}");
        }
        for text in [
            "http://192.168.0.1",
            "http://localhost.example",
            "http://a.localhost",
            "http://0.0.0.0:1",
            "https://api.openai.com",
        ] {
            assert!(!BaseUrl::parse(text).unwrap().is_loopback(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("sk-very-secret\n");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.redact("bad key sk-very-secret!"), "bad key [key]!");
    }
}
