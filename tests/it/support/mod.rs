//! What the tests stand on: a database of their own, on SQLite and on PostgreSQL.

pub(crate) mod database;
pub(crate) mod postgres;
