//! Who may come in: the Host and Origin rules against other web pages (DNS rebinding, cross-site
//! requests) and the key.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use reckon_protocol::{Problem, ProblemCode};

use crate::{
    app::App,
    config::{Key, ServerConfig},
    refusal::Refusal,
};

/// Open to everybody who reaches the server: the static page, and whether the server lives.
const WITHOUT_KEY: [&str; 2] = ["/", "/health"];

/// Lets a request through or answers it.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let verdict = admit(&app.config, request.method(), request.uri().path(), request.headers());
    let path = request.uri().path().to_owned();
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(problem) => Refusal::from(problem).respond_at(&path),
    };
    harden(response.headers_mut());
    if chunked {
        // A proxy may have taken the request for a shorter one: what it thinks is the rest of the body, or the next
        // caller's request, is never answered here. A length after the coding shows in no header any more.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the caller may see more than strangers do.
pub(crate) fn is_trusted(config: &ServerConfig, headers: &HeaderMap) -> bool {
    config.keys.is_empty() || bearer(headers).is_some_and(|secret| Key::is_among(secret, &config.keys))
}

fn admit(config: &ServerConfig, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    check_framing(headers)?;
    let host = one_host(headers)?;
    if !host_is_allowed(host, &config.allowed_hosts) {
        let message = format!("This server does not answer to the host name `{}`.", host.escape_debug());
        return Err(Problem::new(ProblemCode::Forbidden, message)
            .with_hint("use localhost or the IP address, or add the name to allowed_hosts of the server"));
    }
    if !method.is_safe() && !origin_is_allowed(headers, host, &config.allowed_hosts) {
        return Err(Problem::new(
            ProblemCode::Forbidden,
            "Another web page may not send requests to this server.",
        )
        .with_hint("the Origin has to be the server itself or one of its allowed_hosts"));
    }
    if !WITHOUT_KEY.contains(&path) && !is_trusted(config, headers) {
        return Err(Problem::new(ProblemCode::Unauthorized, "This server wants a key.")
            .with_hint("send the header Authorization: Bearer <key>"));
    }
    Ok(())
}

/// Refuses what can be framed in two ways, and codings that nobody here takes off.
fn check_framing(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let plain = coding.to_str().is_ok_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"));
    if plain && codings.next().is_none() && !headers.contains_key(header::CONTENT_LENGTH) {
        return Ok(());
    }
    Err(Problem::new(ProblemCode::InvalidRequest, "The length of the body is said in more than one way.")
        .with_hint("send either Content-Length or Transfer-Encoding: chunked, and no other coding"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn one_host(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) => Ok(host),
        _ => Err(Problem::new(ProblemCode::InvalidRequest, "A request needs exactly one Host header.")),
    }
}

/// An attacker's page reaches us by a name of theirs that resolves to our address (DNS rebinding).
/// IP addresses and `localhost` cannot be rebound; other names have to be configured.
fn host_is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = host_name(host);
    name == "localhost"
        || name.parse::<Ipv4Addr>().is_ok()
        || name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(is_ipv6)
        || allowed.iter().any(|known| host_name(known) == name)
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// Returns the name without its port, in lower case and without the root's dot.
fn host_name(host: &str) -> String {
    let host = host.trim();
    let name = match host.rfind(':') {
        Some(colon)
            if host[colon + 1..].bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(']') =>
        {
            &host[..colon]
        }
        _ => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Browsers name the page that sends a request which changes something; programs do not.
fn origin_is_allowed(headers: &HeaderMap, host: &str, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Some((scheme, authority)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let bare = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    bare(authority) == bare(host) || allowed.iter().any(|known| host_name(known) == host_name(authority))
}

/// Headers of every answer, unless a door has set its own.
fn harden(headers: &mut HeaderMap) {
    let defaults = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn only_names_that_cannot_be_rebound_are_answered() {
        let allowed = ["reckon.example".to_owned(), "box.local:8787".to_owned()];
        for host in [
            "localhost",
            "LOCALHOST:8787",
            "127.0.0.1:1",
            "10.1.2.3",
            "[::1]:8787",
            "[::1]",
            "reckon.example",
            "Reckon.Example.:443",
            "box.local",
        ] {
            assert!(host_is_allowed(host, &allowed), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
            "::1",
            "localhost:x",
            "0x7f.1",
        ] {
            assert!(!host_is_allowed(host, &allowed), "{host}");
        }
    }

    #[test]
    fn only_our_own_page_may_change_things() {
        let allowed = ["reckon.example".to_owned()];
        for (origin, host, may) in [
            ("http://localhost:8787", "localhost:8787", true),
            ("http://localhost:3000", "localhost:8787", false),
            ("https://reckon.example", "127.0.0.1:8787", true),
            ("https://reckon.example:443", "reckon.example", true),
            ("http://10.0.0.1", "10.0.0.1:80", true),
            ("https://evil.example", "localhost:8787", false),
            ("null", "localhost:8787", false),
        ] {
            let sent = headers(&[(header::ORIGIN, origin)]);
            assert_eq!(origin_is_allowed(&sent, host, &allowed), may, "{origin} at {host}");
        }
        assert!(origin_is_allowed(&HeaderMap::new(), "localhost", &allowed), "programs send none");
    }

    #[test]
    fn a_key_opens_what_it_has_to() {
        let config = ServerConfig { keys: vec![Key::from_secret("rk_1")], ..ServerConfig::default() };
        let with = |value: &str| headers(&[(header::HOST, "localhost"), (header::AUTHORIZATION, value)]);
        let code = |headers: &HeaderMap, path: &str| {
            admit(&config, &Method::POST, path, headers).err().map(|problem| problem.code)
        };
        assert_eq!(code(&with("Bearer rk_1"), "/run"), None);
        assert_eq!(code(&with("bearer  rk_1 "), "/api/sandboxes"), None);
        for wrong in ["Bearer rk_2", "Bearer", "rk_1", "Basic rk_1", "Bearer "] {
            assert_eq!(code(&with(wrong), "/run"), Some(ProblemCode::Unauthorized), "{wrong}");
        }
        assert_eq!(code(&headers(&[(header::HOST, "localhost")]), "/health"), None);
    }

    #[test]
    fn a_body_has_one_length() {
        let coded = |coding: &str| headers(&[(header::TRANSFER_ENCODING, coding)]);
        assert!(check_framing(&coded("chunked")).is_ok() && check_framing(&coded("Chunked ")).is_ok());
        assert!(check_framing(&headers(&[(header::CONTENT_LENGTH, "5")])).is_ok());
        let mut both = coded("chunked");
        both.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        let mut twice = coded("chunked");
        twice.append(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        for refused in [both, twice, coded("gzip, chunked"), coded("identity")] {
            assert!(check_framing(&refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn one_host_header_it_has_to_be() {
        let config = ServerConfig::default();
        let mut twice = headers(&[(header::HOST, "localhost")]);
        twice.append(header::HOST, HeaderValue::from_static("evil.example"));
        for sent in [HeaderMap::new(), twice] {
            let problem = admit(&config, &Method::GET, "/", &sent).expect_err("not one host");
            assert_eq!(problem.code, ProblemCode::InvalidRequest);
        }
    }
}
