//! Watchfloor: the incident desk of a security operations centre, as a GraphQL service.

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
