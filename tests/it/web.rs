//! The pages inside the binary.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use reqwest::{Client, Response, StatusCode};
use watchfloor::server::edge::web;

#[tokio::test]
async fn a_page_is_there_or_says_how_to_build_it() {
    let base = serve().await;
    for path in ["/", "/graphiql", "/wall"] {
        let answer = get(&format!("{base}{path}")).await;
        let caching = if answer.status() == StatusCode::OK { "private, no-cache" } else { "no-store" };
        assert_guarded(&answer, caching);
        match answer.status() {
            StatusCode::OK => {
                assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
                assert!(answer.text().await.unwrap().contains("Watchfloor"));
            }
            StatusCode::SERVICE_UNAVAILABLE => assert!(answer.text().await.unwrap().contains("make web")),
            other => panic!("{path} answered {other}"),
        }
    }
}

#[tokio::test]
async fn a_page_that_the_browser_holds_is_not_sent_again() {
    let base = serve().await;
    let first = get(&format!("{base}/graphiql")).await;
    let Some(etag) = first.headers().get("etag") else { return }; // built without the pages

    let again = Client::new().get(format!("{base}/graphiql")).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(again.headers()["etag"], *etag);
    assert!(again.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_page_loads_is_served_compressed_and_kept_forever() {
    let base = serve().await;
    let page = get(&format!("{base}/graphiql")).await;
    if page.status() != StatusCode::OK {
        return; // built without the pages
    }

    let page = page.text().await.unwrap();
    let paths: Vec<&str> = page.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(paths.len() > 2, "the page loads {paths:?}");
    for path in paths {
        let plain = get(&format!("{base}{path}")).await;
        assert_eq!(plain.status(), StatusCode::OK, "{path}");
        assert_guarded(&plain, "public, max-age=31536000, immutable");
        assert!(plain.headers().get("content-encoding").is_none());
        let plain_length = plain.bytes().await.unwrap().len();

        let packed =
            Client::new().get(format!("{base}{path}")).header("accept-encoding", "br, gzip").send().await.unwrap();
        if packed.headers().get("content-encoding").is_some_and(|coding| coding == "gzip") {
            assert!(packed.bytes().await.unwrap().len() < plain_length, "{path}");
        }
    }
}

#[tokio::test]
async fn an_unknown_asset_is_a_short_text() {
    let base = serve().await;
    for path in ["/assets/none.js", "/assets/../index.html", "/assets/%2e%2e/index.html", "/assets/"] {
        let answer = get(&format!("{base}{path}")).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text().await.unwrap().len() < 100);
    }
}

async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, web::routes().fallback(web::not_found)).await.unwrap() });
    format!("http://{address}")
}

async fn get(url: &str) -> Response {
    Client::new().get(url).send().await.unwrap()
}

fn assert_guarded(answer: &Response, caching: &str) {
    let headers = answer.headers();
    assert_eq!(headers["cache-control"], caching);
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "same-origin");
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'; script-src 'self';"));
}
