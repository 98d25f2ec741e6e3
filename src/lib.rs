//! Watchfloor: the incident desk of a security operations centre, as a GraphQL service.

pub mod domain;
pub mod import;
pub mod sample;
