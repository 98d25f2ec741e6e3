//! Who may knock while no identity is configured: this machine, and pages that this machine served.
//!
//! Any page in the user's browser can send requests to a loopback port, and a name of the attacker's can be made to
//! resolve to it. So the name asked for (`Host`) and the page that asks (`Origin`) must both be loopback names, on
//! every path and on the upgrade to a WebSocket, which browsers do not subject to their same-origin policy.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::{
    extract::Request,
    http::{
        HeaderMap, StatusCode, Uri,
        header::{HOST, ORIGIN, UPGRADE},
        uri::Authority,
    },
    middleware::Next,
    response::Response,
};

use super::http::refusal;
use crate::domain::Error;

/// Middleware, for the whole router: `router.layer(axum::middleware::from_fn(origin::loopback_only))`.
pub async fn loopback_only(request: Request, next: Next) -> Response {
    match check(&request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused,
    }
}

#[expect(clippy::result_large_err, reason = "the error is the response, sent at once")]
fn check(request: &Request) -> Result<(), Response> {
    let headers = request.headers();
    // HTTP/2, and HTTP/1.1 towards a proxy, name the host in the request line.
    let mut names: Vec<&str> = request.uri().authority().map(Authority::as_str).into_iter().collect();
    for host in headers.get_all(HOST) {
        names.push(host.to_str().unwrap_or_default());
    }
    if names.is_empty() {
        return Err(refusal(StatusCode::BAD_REQUEST, Error::invalid("Host", "the request names no host")));
    }
    if !names.into_iter().all(is_loopback_authority) {
        return Err(forbidden("this desk answers to localhost only, until identity is configured"));
    }
    if !headers.get_all(ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_loopback_origin)) {
        return Err(forbidden("pages of other sites may not use this desk"));
    }
    let acts = !request.method().is_safe() || headers.contains_key(UPGRADE);
    if acts && is_cross_site(headers) {
        return Err(forbidden("pages of other sites may not use this desk"));
    }
    Ok(())
}

fn forbidden(message: &str) -> Response {
    refusal(StatusCode::FORBIDDEN, Error::forbidden(message))
}

fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"))
}

fn is_loopback_origin(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    matches!(uri.scheme_str(), Some("http" | "https"))
        && bare
        && uri.authority().is_some_and(|authority| is_loopback_authority(authority.as_str()))
}

fn is_loopback_authority(text: &str) -> bool {
    match text.parse::<Authority>() {
        Ok(authority) if !text.contains('@') => is_loopback_name(&authority.host().to_ascii_lowercase()),
        _ => false,
    }
}

fn is_loopback_name(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    host == "localhost"
        || host.strip_suffix(".localhost").is_some_and(|name| !name.is_empty())
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_known_in_every_spelling() {
        for name in
            ["localhost", "LOCALHOST:4000", "desk.localhost:80", "127.0.0.1", "127.9.8.7:1", "[::1]", "[::1]:4000"]
        {
            assert!(is_loopback_authority(name), "{name}");
        }
    }

    #[test]
    fn other_names_are_not_loopback_names() {
        for name in [
            "",
            ":80",
            "localhost.example.com",
            "notlocalhost",
            ".localhost",
            "127.0.0.1.example.com",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::2]",
            "::1",
            "2130706433",
            "localhost@example.com",
            "example.com#localhost",
            "localhost:x y",
        ] {
            assert!(!is_loopback_authority(name), "{name}");
        }
    }

    #[test]
    fn an_origin_is_a_web_page_of_this_machine() {
        for origin in ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:4000"] {
            assert!(is_loopback_origin(origin), "{origin}");
        }
        for origin in ["null", "", "localhost", "http://example.com", "file://localhost", "http://localhost/page"] {
            assert!(!is_loopback_origin(origin), "{origin}");
        }
    }
}
