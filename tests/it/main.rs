//! The only integration binary, so that two cores link it once.
#![expect(clippy::print_stdout, reason = "seeds, figures and what was skipped belong into the output of a test")]

mod account;
mod alert;
mod architecture;
mod caller;
mod changelog;
mod chaos;
mod cli;
mod comment;
mod connections;
mod exactness;
mod examples;
mod filter;
mod import;
mod incident;
mod index;
mod limits;
mod log;
mod migrations;
mod nodes;
mod pages;
mod plans;
mod protocol;
mod queue;
mod replay;
mod response_times;
mod restart;
mod resume;
mod schema;
mod sharing;
mod statements;
mod subscription;
mod summary;
mod support;
mod tally;
mod web;
