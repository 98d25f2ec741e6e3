//! `/graphql`: chooses the transport of a request, and holds the limits of all transports.

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequestParts, Request, State, ws::WebSocketUpgrade},
    http::header::UPGRADE,
    middleware,
    response::Response,
    routing,
};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{
    answers::{AnswerSettings, Answers},
    connections::{self, Busy, ConnectionSettings},
    crowd::{Crowd, CrowdSettings},
    endpoint::Endpoint,
    group::{GroupSettings, Groups},
    http::{self, HttpSettings},
    operation::{limits::Limits, operations::Operations},
    origin::Origins,
    reserved::{self, Reservations},
    shared_answers::SharedAnswers,
    streaming::StreamSettings,
    work::{self, Work, WorkSettings},
    ws::{self, SocketSettings},
};

/// The header, and the field of `connection_init`, that names the account for which a caller acts.
pub const ACTOR: &str = "Watchfloor-Actor";

/// The limits of the transports.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The limits of a document.
    pub limits: Limits,
    /// The limits of an HTTP request.
    pub http: HttpSettings,
    /// The limits of a WebSocket.
    pub socket: SocketSettings,
    /// The limits of streaming responses.
    pub streams: StreamSettings,
    /// The limits of groups, in which subscriptions share their frames.
    pub groups: GroupSettings,
    /// The most sockets and streams.
    pub crowd: CrowdSettings,
    /// The limits of connections below HTTP.
    pub connections: ConnectionSettings,
    /// Other origins whose pages may use the API.
    pub origins: Origins,
    /// The most operations at once, and their time.
    pub work: WorkSettings,
    /// The limits of answers.
    pub answers: AnswerSettings,
}

/// Turns true when the server stops. Then every socket is closed with 1012, and every streaming response breaks off,
/// after which clients reconnect.
///
/// Each socket and stream holds a receiver until it is closed, and so does the router. The holder of the sender
/// therefore waits for them with `sender.closed()`, after the listener has ended.
pub type Shutdown = watch::Receiver<bool>;

/// Makes the routes of `/graphql`: `GET` and `POST` for operations, `GET` with an upgrade for the socket, `PUT` and
/// `DELETE` for streams of several operations. All requests are answered on the runtime that calls this function.
pub fn graphql_routes<E: Endpoint>(endpoint: E, settings: Settings, shutdown: Shutdown) -> Router {
    let groups = Groups::new(settings.groups.clone());
    let work = Work::new(&settings.work, shutdown.clone());
    let answers = Answers::new(settings.answers.clone());
    let (crowd, reservations, settings) = (Crowd::default(), Reservations::default(), Arc::new(settings));
    let operations = Arc::new(Operations::new(endpoint.catalogue(), settings.limits.clone()));
    let shared = SharedAnswers::new(&settings.answers);
    let served =
        Served { endpoint, operations, settings, groups, crowd, reservations, work, answers, shared, shutdown };
    let methods = routing::get(socket_or_get).post(http::post).put(reserved::put).delete(reserved::delete);
    let methods = methods.fallback(http::other_method);
    let elsewhere = middleware::from_fn_with_state(Handle::current(), work::on);
    Router::new().route("/graphql", methods).with_state(served).layer(elsewhere)
}

/// The state that each request is answered with.
#[derive(Clone)]
pub(super) struct Served<E> {
    pub(super) endpoint: E,
    pub(super) operations: Arc<Operations>,
    pub(super) settings: Arc<Settings>,
    pub(super) groups: Groups,
    pub(super) crowd: Crowd,
    pub(super) reservations: Reservations,
    pub(super) work: Work,
    pub(super) answers: Answers,
    pub(super) shared: SharedAnswers,
    pub(super) shutdown: Shutdown,
}

/// Resolves when the server stops. Never resolves if the sender is gone.
pub(super) async fn stopped(shutdown: &mut Shutdown) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn socket_or_get<E: Endpoint>(State(served): State<Served<E>>, request: Request) -> Response {
    let (mut head, _) = request.into_parts();
    let wants_socket = head.headers.get(UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if wants_socket {
        let upgrade = WebSocketUpgrade::from_request_parts(&mut head, &()).await;
        let address = connections::address(&head.extensions);
        let busy = head.extensions.get::<Busy>().cloned();
        return ws::upgrade(served, &head.headers, (address, busy), upgrade);
    }
    http::get(&served, &head).await
}
