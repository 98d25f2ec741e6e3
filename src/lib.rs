//! Watchfloor: the incident desk of a security operations centre, as a GraphQL service on SQLite or PostgreSQL.
//!
//! Analysts query, change and follow incidents and alerts. Every committed change has one position in a gapless log. A
//! queue is answered as of a position, and its subscription delivers every later change exactly once and in order.
//!
//! # The folders
//!
//! A folder imports only the folders above it in this list; `tests/it/architecture.rs` checks the imports. Inside a
//! folder there is a file per noun (`incident.rs`, `alert.rs`, …), with the same name in every folder.
//!
//! 1. [`domain`]: the nouns and their rules, without database, HTTP or async code. Time comes in as an argument.
//! 2. [`storage`]: rows, snapshots, transactions, the log, and filters as SQL. It knows no GraphQL.
//! 3. [`realtime`]: the newest changes in memory, the index of live feeds, and the rows of all open incidents (the
//!    board).
//! 4. [`app`]: the commands. Only this folder opens transactions; the creation of a new log is the one exception.
//! 5. [`import`]: readers of foreign file formats. They give records to the commands.
//! 6. [`sample`]: the demo's incidents, made by the commands too, and a generator of desks of any size.
//! 7. [`graphql`]: the schema. Its resolvers call `app` to write, and read through one database snapshot per request.
//! 8. [`server`]: connections, requests, limits, and the transports HTTP, WebSocket, SSE and multipart.
//!
//! `config`, `cli`, `log` and `main` connect the folders and may import all of them.
//!
//! # A mutation: `resolveIncident`
//!
//! `server/http/` or `server/ws/` reads the request, and `server/operation/` validates and measures it. The resolver in
//! `graphql/mutation/incident.rs` turns the input into an edit and calls `app/incident.rs`. That command opens a
//! transaction, which it may share with other waiting commands (`storage/combiner.rs`). It locks the incidents and
//! their alerts, `domain/incident.rs` decides what changes, and `domain/policy.rs` refuses what the operator's policies
//! forbid. `storage` writes the rows and keeps the change pending. At the end of the transaction it locks the head of
//! the log, gives the pending changes the next positions and commits. The [`realtime::Hub`] then wakes the relay of
//! this node and notifies the other nodes.
//!
//! # A query: `incidents`
//!
//! `server/operation/board.rs` recognises a query that asks only for rows, counts and facets. The board
//! ([`realtime::board`]) answers it for open incidents, as of the current end of the log or later, and equal queries at
//! the same position share one serialised answer. Otherwise the resolver opens one database snapshot, reads the end of
//! the log in it, and reads every field of the answer from that snapshot. `app/queue.rs` still prefers the board if the
//! board stands at exactly that position.
//!
//! # A subscription: `incidentQueue`
//!
//! [`realtime::relay`] is the only reader of the log. It wakes at each commit, and appends the new changes to the ring.
//! The index hands each change to the live feeds whose filter could match the row before or after it. A feed
//! ([`realtime::feed`]) reads its backlog first, from the ring or the database, and compares each change with its
//! filter. Clients of the same subscription form one group in `server`: the group serialises each event once, and each
//! client takes the frames at its own pace. docs/ARCHITECTURE.md has the same walks in more detail, and the invariants.

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod graphql;
pub mod import;
pub mod log;
pub mod realtime;
pub mod sample;
pub mod server;
pub mod storage;
