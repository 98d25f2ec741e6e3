//! The public API: the schema, and how its answers and errors look.

pub mod error;
