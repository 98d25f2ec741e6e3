//! The only integration binary, so that two cores link it once.

mod architecture;
mod import;
mod protocol;
mod support;
mod web;
