//! The only integration binary, so that two cores link it once.

mod architecture;
mod changelog;
mod exactness;
mod examples;
mod filter;
mod import;
mod incident;
mod pages;
mod protocol;
mod replay;
mod restart;
mod resume;
mod subscription;
mod support;
mod web;
