//! HTTP.

pub mod web;
