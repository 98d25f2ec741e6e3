//! The state that each request over HTTP is answered with.

use super::reservations::Reservations;
use crate::server::served::Served;

/// The state of all transports, and the streams that clients have reserved.
#[derive(Clone)]
pub(in crate::server) struct HttpState<E> {
    pub(in crate::server) served: Served<E>,
    pub(in crate::server) reservations: Reservations,
}
