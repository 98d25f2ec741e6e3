//! The routing table: every route of the server, and the checks that stand before it.

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::UPGRADE;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{self, get};
use tokio::runtime::Handle;

use super::desk::{self, Desk};
use super::edge::connections::{self, Busy};
use super::edge::shutdown::Shutdown;
use super::edge::{headers, origin, runtime, web};
use super::http::reservations::Reservations;
use super::http::state::HttpState;
use super::http::{handlers, single_connection};
use super::operation::endpoint::Endpoint;
use super::served::Served;
use super::settings::Settings;
use super::ws;

/// Every route of the server. While no identity is configured (docs/PRODUCT.md, P71), all routes answer only loopback
/// hosts and the hosts of allowed origins, and all routes except the pages answer only the desk's own origin and
/// allowed origins.
///
/// Requests to the desk run on the runtime that calls this function, whatever runtime holds the connections. The pages
/// and the liveness check `/healthz` run on the runtime of the connections.
pub fn router(desk: Desk, settings: Settings, shutdown: Shutdown) -> Router {
    let desk = desk.within(settings.work.statement);
    let origins = settings.origins.clone();
    let desk = desk.weighing(&settings.answers);
    let api = desk::routes::routes(desk.clone())
        .layer(from_fn_with_state(Handle::current(), runtime::on))
        .merge(graphql_routes(desk, settings, shutdown))
        .route("/healthz", get(|| async { "ok\n" }));
    let routes = origin::own_origin_only(api, &origins).merge(web::routes()).fallback(web::not_found);
    headers::on_every_answer(origin::own_host_only(routes, &origins))
}

/// Makes the routes of `/graphql`: `GET` and `POST` for operations, `GET` with an upgrade for the socket, `PUT` and
/// `DELETE` for streams of several operations. All requests are answered on the runtime that calls this function.
pub fn graphql_routes<E: Endpoint>(endpoint: E, settings: Settings, shutdown: Shutdown) -> Router {
    let state = HttpState { served: Served::new(endpoint, settings, shutdown), reservations: Reservations::default() };
    let methods = routing::get(socket_or_get).post(handlers::post);
    let methods = methods.put(single_connection::put).delete(single_connection::delete);
    let methods = methods.fallback(handlers::other_method);
    let elsewhere = from_fn_with_state(Handle::current(), runtime::on);
    Router::new().route("/graphql", methods).with_state(state).layer(elsewhere)
}

async fn socket_or_get<E: Endpoint>(State(state): State<HttpState<E>>, request: Request) -> Response {
    let (mut head, _) = request.into_parts();
    let wants_socket = head.headers.get(UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if wants_socket {
        let upgrade = WebSocketUpgrade::from_request_parts(&mut head, &()).await;
        let address = connections::address(&head.extensions);
        let busy = head.extensions.get::<Busy>().cloned();
        return ws::upgrade::upgrade(state.served, &head.headers, (address, busy), upgrade);
    }
    handlers::get(&state, &head).await
}
