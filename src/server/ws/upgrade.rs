//! Answers the request that upgrades a connection to a WebSocket.

use std::net::IpAddr;

use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::{HeaderMap, StatusCode, header::SEC_WEBSOCKET_PROTOCOL};
use axum::response::Response;

use super::socket::{SocketPeer, serve};
use super::subprotocol::Subprotocol;
use crate::domain::Error;
use crate::server::edge::actor::actor;
use crate::server::edge::connections::Busy;
use crate::server::edge::response::refusal;
use crate::server::operation::endpoint::Endpoint;
use crate::server::served::Served;
use crate::server::settings::SocketSettings;

/// The read buffer of each socket, allocated for the life of the socket. The default of tungstenite is 128 KiB, which
/// thousands of idle sockets would pay for. Messages of clients are small; a larger message takes several reads.
const READ_BUFFER_BYTES: usize = 2 * 1024;

/// Answers the upgrade request. A request that is no upgrade, or that offers no known subprotocol, is answered with a
/// coded 400, and a socket beyond the limits with a coded 503.
pub(in crate::server) fn upgrade<E: Endpoint>(
    served: Served<E>,
    headers: &HeaderMap,
    (address, busy): (Option<IpAddr>, Option<Busy>),
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return refusal(rejection.status(), Error::invalid("Upgrade", rejection.body_text())),
    };
    let account = match actor(headers) {
        Ok(account) => account,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, error),
    };
    let SocketSettings { message_bytes, legacy, .. } = served.settings.socket;
    let spoken = if legacy { &[Subprotocol::Current, Subprotocol::Legacy][..] } else { &[Subprotocol::Current] };
    let Some(subprotocol) = offered(headers).find(|offered| spoken.contains(offered)) else {
        let names: Vec<_> = spoken.iter().map(|spoken| spoken.name()).collect();
        let message = format!("offer a subprotocol that the socket speaks: {}", names.join(" or "));
        return refusal(StatusCode::BAD_REQUEST, Error::invalid("Sec-WebSocket-Protocol", message));
    };
    let upgrade = upgrade
        // The server speaks the subprotocol that it echoes.
        .protocols([subprotocol.name()])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(message_bytes)
        .max_frame_size(message_bytes);
    let admission = match served.admissions.admit(address, &served.settings.admission) {
        Ok(admission) => admission,
        Err(error) => return refusal(StatusCode::SERVICE_UNAVAILABLE, error),
    };
    let peer = SocketPeer { subprotocol, account, place: admission, _busy: busy };
    upgrade.on_upgrade(async move |socket| serve(socket, served, peer).await)
}

/// Returns the known subprotocols that a client offers, in the client's order, which is the order of preference (RFC
/// 6455, 4.1). A client that does not find the server's choice (gql of Python compares the case of the header) uses its
/// first.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = Subprotocol> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| Subprotocol::named(name.trim_ascii()))
}
