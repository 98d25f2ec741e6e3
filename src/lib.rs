//! Watchfloor: the incident desk of a security operations centre, as a GraphQL service.

pub mod app;
pub mod domain;
pub mod realtime;
pub mod storage;
