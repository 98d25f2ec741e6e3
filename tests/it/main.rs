//! Integration.

mod protocol;
mod support;
