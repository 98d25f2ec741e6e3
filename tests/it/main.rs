//! The only integration binary, so that two cores link it once.

mod architecture;
mod changelog;
mod exactness;
mod examples;
mod filter;
mod import;
mod incident;
mod migrations;
mod pages;
mod plans;
mod protocol;
mod queue;
mod resume;
mod schema;
mod statements;
mod subscription;
mod support;
mod web;
