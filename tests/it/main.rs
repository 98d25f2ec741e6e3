//! The only integration binary, so that two cores link it once.

mod architecture;
mod incident;
mod migrations;
mod plans;
mod protocol;
mod queue;
mod schema;
mod statements;
mod subscription;
mod support;
mod web;
