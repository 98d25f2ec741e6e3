//! The only integration binary, so that two cores link it once.

mod account;
mod alert;
mod architecture;
mod comment;
mod examples;
mod import;
mod incident;
mod limits;
mod log;
mod protocol;
mod subscription;
mod support;
mod web;
