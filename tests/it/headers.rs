//! The headers of every answer, and the pages with headers of their own: on the real router, route by route.

use reqwest::{Client, Method, Response};
use serde_json::json;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(every_answer_is_guarded_and_kept_by_nobody_else, the_api_is_for_its_own_pages_and_a_link_opens_a_page);

/// Returns every route of the server, with its errors.
async fn routes(desk: &TestDesk) -> Vec<(Method, String, u16)> {
    let incident = desk.incident("Beaconing").await;
    let (get, put, post, patch) = (Method::GET, Method::PUT, Method::POST, Method::PATCH);
    let missing = "/attachments/00000000-0000-0000-0000-000000000000";
    [
        (get.clone(), "/healthz", 200),
        (get.clone(), "/readyz", 200),
        (get.clone(), "/schema.graphql", 200),
        (get.clone(), "/.well-known/watchfloor-signing-key.pem", 200),
        (get.clone(), &format!("/incidents/{incident}/log.ndjson"), 200),
        (get.clone(), "/incidents/99/log.ndjson", 404),
        (get.clone(), missing, 404),
        (put.clone(), missing, 404),
        (patch.clone(), missing, 405),
        (get.clone(), "/graphql?query={incidents{totalCount}}", 200),
        (get.clone(), "/graphql", 400),
        (post, "/graphql", 415),
        (put, "/graphql", 201),
        (Method::DELETE, "/graphql", 400),
        (patch, "/graphql", 405),
    ]
    .map(|(method, path, status)| (method, path.to_owned(), status))
    .into()
}

async fn ask(desk: &TestDesk, method: &Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = Client::new().request(method.clone(), format!("{}{path}", desk.url));
    let request = headers.iter().fold(request, |it, (name, value)| it.header(*name, *value));
    request.send().await.expect("an answer")
}

async fn every_answer_is_guarded_and_kept_by_nobody_else(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut routes = routes(&desk).await;
    routes.push((Method::GET, "/nothing/here".into(), 404));
    routes.push((Method::GET, "/assets/none.js".into(), 404));
    for (method, path, status) in routes {
        for host in [None, Some(("host", "evil.example"))] {
            let headers: Vec<_> = host.into_iter().collect();
            let answer = ask(&desk, &method, &path, &headers).await;
            assert_eq!(answer.status().as_u16(), if host.is_none() { status } else { 403 }, "{method} {path}");
            let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"));
            assert_eq!(header("x-content-type-options"), "nosniff", "{method} {path}");
            assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{method} {path}");
            assert!(header("content-security-policy").contains("default-src "), "{method} {path}");
            let kept = if header("etag").is_empty() { "no-store" } else { "private, no-cache" };
            assert_eq!(header("cache-control"), kept, "{method} {path}");
        }
    }
}

async fn the_api_is_for_its_own_pages_and_a_link_opens_a_page(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let count = "{ incidents { totalCount } }";
    for (method, path, _) in routes(&desk).await {
        for site in ["cross-site", "same-site"] {
            let answer = ask(&desk, &method, &path, &[("sec-fetch-site", site), ("sec-fetch-dest", "image")]).await;
            assert_eq!(answer.status().as_u16(), 403, "{method} {path} from a {site} page");
            assert!(answer.text().await.expect("a body").contains("FORBIDDEN"));
        }
        let answer = ask(&desk, &method, &path, &[("origin", "http://localhost:1")]).await;
        assert_eq!(answer.status().as_u16(), 403, "{method} {path} from another port");
        let own = [("origin", desk.url.as_str()), ("sec-fetch-site", "same-origin")];
        assert_ne!(ask(&desk, &method, &path, &own).await.status().as_u16(), 403, "{method} {path} from its own page");
    }
    assert_eq!(desk.data(count, json!({})).await["incidents"]["totalCount"], 1, "what was refused did nothing");
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    for page in ["/", "/graphiql", "/wall", "/licenses"] {
        assert_ne!(ask(&desk, &Method::GET, page, &link).await.status().as_u16(), 403, "{page} from a link");
    }
}
