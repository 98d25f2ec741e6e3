//! The pages inside the binary: `/`, GraphiQL, the wall, and the files that they load.
//!
//! `make web` builds them from `web/` into `web/dist`, and the compiler embeds them in this crate. A binary that was
//! compiled without them works, and its pages say how to get them. The headers of every answer forbid the browser to
//! load or send anything outside this origin.

use axum::{
    Router,
    extract::Path,
    http::{
        HeaderMap, StatusCode,
        header::{
            ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
            IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{Embed, EmbeddedFile};

use super::headers::REVALIDATE;

/// What `vite build` left in `web/dist`. The feature `debug-embed` embeds it in debug builds too, so that they do not
/// depend on the working directory or on this source tree.
#[derive(Embed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

/// `'self'` covers the WebSocket of this origin too. Monaco writes its colours into style elements, so styles need
/// `'unsafe-inline'`, and carries its icons and cursors as `data:`.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self' data:; worker-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The name of an asset carries the hash of its content, so it never changes. Caches honour one year at most.
const FOREVER: &str = "public, max-age=31536000, immutable";

const NOT_BUILT: &str = "the pages are not in this binary: run `make web`, then build it again\n";

/// Makes the routes of the pages: `/`, `/graphiql`, `/wall`, `/licenses` and `/assets/…`. They need no identity and no
/// rights.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(async |headers: HeaderMap| page("index.html", &headers)))
        .route("/graphiql", get(async |headers: HeaderMap| page("graphiql.html", &headers)))
        .route("/wall", get(async |headers: HeaderMap| page("wall.html", &headers)))
        .route("/licenses", get(async |headers: HeaderMap| page("licenses.md", &headers)))
        .route("/assets/{*name}", get(asset))
}

/// Answers an address without a route.
pub async fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "there is nothing here\n")
}

fn page(name: &str, asked: &HeaderMap) -> Response {
    serve(name, REVALIDATE, asked).unwrap_or_else(|| text(StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT))
}

async fn asset(Path(name): Path<String>, asked: HeaderMap) -> Response {
    match serve(&format!("assets/{name}"), FOREVER, &asked) {
        Some(found) => found,
        None => not_found().await,
    }
}

fn serve(name: &str, caching: &'static str, asked: &HeaderMap) -> Option<Response> {
    let (file, encoding) = choose(name, asked)?;
    let etag = etag(&file);

    let mut answer = if holds(asked, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, content_type(name))], file.data).into_response()
    };
    if let Some(encoding) = encoding.filter(|_| answer.status() == StatusCode::OK) {
        answer.headers_mut().insert(CONTENT_ENCODING, encoding.parse().ok()?);
    }
    Some((guarded(caching), [(ETAG, etag), (VARY, ACCEPT_ENCODING.to_string())], answer).into_response())
}

/// Returns the file, or its smaller gzip twin from the build if the browser reads gzip.
fn choose(name: &str, asked: &HeaderMap) -> Option<(EmbeddedFile, Option<&'static str>)> {
    let twin = reads_gzip(asked).then(|| Dist::get(&format!("{name}.gz"))).flatten();
    match twin {
        Some(twin) => Some((twin, Some("gzip"))),
        None => Dist::get(name).map(|file| (file, None)),
    }
}

/// Returns whether `Accept-Encoding` accepts gzip. A client that refuses it (`gzip;q=0`) gets the plain file.
fn reads_gzip(asked: &HeaderMap) -> bool {
    listed(asked.get_all(ACCEPT_ENCODING)).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

/// Returns whether the browser already holds the version with this tag.
pub(in crate::server) fn holds(asked: &HeaderMap, etag: &str) -> bool {
    listed(asked.get_all(IF_NONE_MATCH)).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// Splits a comma-separated header into its entries, over all its lines.
fn listed<'a>(lines: impl IntoIterator<Item = &'a axum::http::HeaderValue>) -> impl Iterator<Item = &'a str> {
    lines.into_iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// Returns half of the file's SHA-256: 128 bits tell all versions apart.
fn etag(file: &EmbeddedFile) -> String {
    let hash: String = file.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hash}\"")
}

fn content_type(name: &str) -> String {
    // The licences are Markdown, which browsers download instead of showing.
    let kind = if name.ends_with(".md") {
        mime_guess::mime::TEXT_PLAIN
    } else {
        mime_guess::from_path(name).first_or_octet_stream()
    };
    if kind.type_() == mime_guess::mime::TEXT {
        format!("{}; charset=utf-8", kind.essence_str())
    } else {
        kind.to_string()
    }
}

fn text(status: StatusCode, words: &'static str) -> Response {
    (status, guarded("no-store"), words).into_response()
}

/// Returns the headers of every answer from here.
fn guarded(caching: &'static str) -> [(axum::http::HeaderName, &'static str); 4] {
    [
        (CACHE_CONTROL, caching),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // `no-referrer` would make some browsers send `Origin: null` with a POST, and the server checks the origin.
        (REFERRER_POLICY, "same-origin"),
    ]
}
