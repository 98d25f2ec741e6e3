//! Checks which host names and web pages this desk answers while no identity is configured.
//!
//! Any page in the user's browser can send requests to a loopback port, and an attacker can make a name of its own
//! resolve to it. So every request must name a loopback host or the host of an allowed origin (`Host`). On the routes
//! of the API the page that sends the request must also be the desk's own (`Origin`, `Sec-Fetch-Site`), whatever the
//! method: a GET runs a query too, and the upgrade to a WebSocket is not subject to the browser's same-origin policy.
//! Another server on this machine is another origin. Pages and their files hold no data, so links from other sites to
//! them work.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::response::refusal;
use crate::domain::Error;

/// How long a browser may remember the answer to a preflight request: Chromium keeps none for longer than two hours.
const PREFLIGHT_AGE: Duration = Duration::from_secs(7_200);

/// The origin of a web page: its scheme, host and port, as a browser sends them in `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl FromStr for Origin {
    type Err = String;

    /// Reads `http://host`, `https://host` or either with a port.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no origin: write http://host, https://host, or either with a port");
        let uri = text.parse::<Uri>().map_err(|_| wrong())?;
        let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/") && !text.contains(['#', '@']);
        let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority());
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(wrong()),
        };
        match authority.filter(|authority| bare && !authority.host().is_empty()) {
            Some(authority) => Ok(Self {
                scheme: scheme.to_owned(),
                host: authority.host().to_ascii_lowercase(),
                port: authority.port_u16().unwrap_or(default_port),
            }),
            None => Err(wrong()),
        }
    }
}

impl Origin {
    /// Returns whether pages of this origin come from the host that a request names. The scheme is not compared,
    /// because a proxy in front of the desk may have ended TLS. The scheme decides the port of a host without a port.
    fn is_of(&self, host: &Authority) -> bool {
        let default_port = if self.scheme == "https" { 443 } else { 80 };
        host.host().eq_ignore_ascii_case(&self.host) && host.port_u16().unwrap_or(default_port) == self.port
    }

    /// Returns the origin as `Origin` holds it: the default port is left out.
    fn header(&self) -> Option<HeaderValue> {
        let Self { scheme, host, port } = self;
        let text = match (scheme.as_str(), port) {
            ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
            _ => format!("{scheme}://{host}:{port}"),
        };
        HeaderValue::from_str(&text).ok()
    }
}

/// The origins that may use the API beside the desk's own. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<[Origin]>);

impl Origins {
    /// Allows these origins besides the desk's own.
    pub fn allowing(origins: &[Origin]) -> Self {
        Self(origins.into())
    }

    fn allow(&self, origin: &Origin) -> bool {
        self.0.contains(origin)
    }
}

/// Makes a router answer only requests to a loopback host or to the host of an allowed origin. It is for all routes.
pub fn own_host_only(router: Router, origins: &Origins) -> Router {
    router.layer(from_fn_with_state(origins.clone(), check_host))
}

/// Makes a router answer only pages of the desk's own origin and of allowed origins, and clients that are not pages. It
/// is for the routes of the API. Pages of allowed origins may read the answers (CORS).
pub fn own_origin_only(router: Router, origins: &Origins) -> Router {
    let router = router.layer(from_fn_with_state(origins.clone(), check_origin));
    let allowed: Vec<HeaderValue> = origins.0.iter().filter_map(Origin::header).collect();
    if allowed.is_empty() {
        return router;
    }
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(allowed))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(PREFLIGHT_AGE);
    router.layer(cors)
}

async fn check_host(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let names = match named_hosts(&request) {
        Some(names) if names.is_empty() => {
            let error = Error::invalid("Host", "the request names no host");
            return refusal(StatusCode::BAD_REQUEST, error);
        }
        names => names.unwrap_or_default(),
    };
    let own = |host: &Authority| is_loopback(host.host()) || origins.0.iter().any(|origin| origin.is_of(host));
    if names.is_empty() || !names.iter().all(own) {
        return forbidden("this desk answers to localhost only, until identity is configured");
    }
    next.run(request).await
}

async fn check_origin(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    if is_foreign(&request, &origins) {
        forbidden("pages of other origins may not use this desk (--allowed-origin names exceptions)")
    } else {
        next.run(request).await
    }
}

/// Returns whether a page of another origin sends the request. Browsers name the page's origin if the page could read
/// the answer or if something may change. For every request they say whether the page is of another site
/// (`cross-site`), of another port or subdomain (`same-site`), or of the same origin.
fn is_foreign(request: &Request, origins: &Origins) -> bool {
    let headers = request.headers();
    let mut allowed = false;
    for origin in headers.get_all(ORIGIN) {
        let Some(origin) = origin.to_str().ok().and_then(|origin| origin.parse::<Origin>().ok()) else { return true };
        let hosts = named_hosts(request).unwrap_or_default();
        let own = !hosts.is_empty() && hosts.iter().all(|host| origin.is_of(host));
        allowed = origins.allow(&origin);
        if !own && !allowed {
            return true;
        }
    }
    let of_own_origin = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    !allowed && !headers.get_all("sec-fetch-site").iter().all(of_own_origin)
}

/// Returns the hosts that a request names; `None` if one of them cannot be read.
fn named_hosts(request: &Request) -> Option<Vec<Authority>> {
    // HTTP/2, and HTTP/1.1 towards a proxy, name the host in the request line.
    let mut names: Vec<Authority> = request.uri().authority().cloned().into_iter().collect();
    for host in request.headers().get_all(HOST) {
        names.push(host.to_str().ok()?.parse().ok()?);
    }
    names.iter().all(|name| !name.as_str().contains('@')).then_some(names)
}

fn forbidden(message: &str) -> Response {
    refusal(StatusCode::FORBIDDEN, Error::forbidden(message))
}

/// Names of this machine. Not `*.localhost`: pages of other owners may have such a name.
fn is_loopback(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn asked(headers: &[(&str, &str)]) -> Request {
        let request =
            headers.iter().fold(Request::builder().uri("/graphql"), |it, (name, value)| it.header(*name, *value));
        request.body(Body::empty()).expect("a request")
    }

    fn is_loopback_host(text: &str) -> bool {
        let hosts = named_hosts(&asked(&[("host", text)])).unwrap_or_default();
        !hosts.is_empty() && hosts.iter().all(|host| is_loopback(host.host()))
    }

    #[test]
    fn loopback_names_are_known_in_every_spelling() {
        for name in ["localhost", "LOCALHOST:4000", "127.0.0.1", "127.9.8.7:1", "[::1]", "[::1]:4000"] {
            assert!(is_loopback_host(name), "{name}");
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
            "evil.localhost",
            "127.0.0.1.example.com",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::2]",
            "::1",
            "2130706433",
            "localhost@example.com",
            "example.com@localhost",
            "example.com#localhost",
            "localhost:x y",
        ] {
            assert!(!is_loopback_host(name), "{name}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (text, header) in [
            ("http://localhost:5173", "http://localhost:5173"),
            ("HTTPS://Desk.Example:443/", "https://desk.example"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            let origin = text.parse::<Origin>().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(origin.header().expect("a header"), header);
        }
        for text in ["null", "", "localhost", "file://localhost", "http://a/page", "http://u@a", "http://"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_is_the_desks_own_where_it_came_from_the_host_that_it_asks() {
        let origins = Origins::allowing(&["https://dash.example".parse().expect("an origin")]);
        for (host, origin, site, foreign) in [
            ("localhost:8080", "http://localhost:8080", "same-origin", false),
            ("localhost", "http://localhost", "same-origin", false),
            ("localhost", "https://localhost", "same-origin", false),
            ("[::1]:8080", "http://[::1]:8080", "same-origin", false),
            ("localhost:8080", "", "none", false),
            ("localhost:8080", "", "same-site", true),
            ("localhost:8080", "", "cross-site", true),
            ("localhost:8080", "", "whatever comes next", true),
            ("localhost:8080", "http://localhost:8081", "same-site", true),
            ("localhost:8080", "http://localhost:8081", "same-origin", true),
            ("localhost:8080", "http://127.0.0.1:8080", "cross-site", true),
            ("localhost:8080", "http://evil.localhost:8080", "same-site", true),
            ("localhost:8080", "http://localhost", "same-site", true),
            ("localhost:8080", "null", "cross-site", true),
            ("localhost:8080", "http://localhost:8080", "cross-site", true),
            ("localhost:8080", "https://dash.example", "cross-site", false),
            ("localhost:8080", "https://dash.example:444", "cross-site", true),
            ("localhost:8080", "http://dash.example", "cross-site", true),
        ] {
            let mut headers = vec![("host", host), ("sec-fetch-site", site)];
            headers.extend(Some(("origin", origin)).filter(|(_, origin)| !origin.is_empty()));
            assert_eq!(is_foreign(&asked(&headers), &origins), foreign, "{headers:?}");
        }
    }
}
