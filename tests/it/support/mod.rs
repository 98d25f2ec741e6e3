//! The support of the tests: a database for each test, on SQLite and on PostgreSQL, and clients of the real server.

pub(crate) mod crowd;
pub(crate) mod database;
pub(crate) mod desk;
pub(crate) mod dice;
pub(crate) mod endless;
pub(crate) mod going;
pub(crate) mod kit;
pub(crate) mod little;
pub(crate) mod oracle;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod rust_source;
pub(crate) mod schema;
pub(crate) mod shift;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod triage;
pub(crate) mod waiting;
pub(crate) mod watchdog;
pub(crate) mod wire;
