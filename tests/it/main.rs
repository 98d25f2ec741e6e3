//! Integration.

mod web;
