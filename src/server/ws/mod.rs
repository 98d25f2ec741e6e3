//! GraphQL over WebSocket: the subprotocol `graphql-transport-ws`, as the reference server of graphql-ws speaks it, and
//! its predecessor `graphql-ws`. `subprotocol.rs` holds the differences between the two.

mod ending;
mod graphql_transport_ws;
mod graphql_ws;
mod incoming;
mod operation;
mod outbox;
mod outgoing;
mod reader;
mod socket;
mod socket_state;
mod subprotocol;
pub(super) mod upgrade;
mod writer;
