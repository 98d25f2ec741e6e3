//! The public API: the schema, and how its answers and errors look.

mod account;
mod activity;
mod alert;
mod as_of;
mod attachment;
mod bookmark;
mod bulk;
mod comment;
mod connection;
mod context;
mod correlation;
pub mod error;
mod filter;
mod incident;
mod input;
mod markdown;
mod merge;
mod mutation;
pub mod nulls;
mod payload;
mod policy;
mod query;
#[expect(
    clippy::duplicated_attributes,
    reason = "fields of an interface share types, which the lint takes for repeats"
)]
mod queue;
mod response_times;
mod retold;
mod similar;
mod subscription;
mod summary;
mod view;

use async_graphql::SDLExportOptions;

use crate::app::App;
use crate::realtime::feed::Source;

pub use context::{Limits, Viewer, admit_request};
pub use mutation::Mutation;
pub use query::Query;
pub use subscription::{Subscription, resumes, scope};

/// The desk's schema.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// How deep a document may nest fragments inside fragments: the guard has counted them before; this is async-graphql's
/// own net below it.
const RECURSION_MAX: usize = 32;

/// Builds the schema over a desk. What a document may cost is the guard's to say, before it comes here.
pub fn schema(app: App, source: Source, limits: Limits) -> Schema {
    async_graphql::Schema::build(Query, Mutation, Subscription)
        .register_output_type::<queue::QueueFields>()
        .data(app)
        .data(source)
        .data(limits)
        .data(response_times::Answers::default())
        .limit_recursive_depth(RECURSION_MAX)
        .finish()
}

/// The schema as text, sorted: what `schema.graphql` holds.
pub fn sdl() -> String {
    let schema = async_graphql::Schema::build(Query, Mutation, Subscription)
        .register_output_type::<queue::QueueFields>()
        .finish();
    schema.sdl_with_options(
        SDLExportOptions::new().sorted_fields().sorted_arguments().sorted_enum_items().include_specified_by(),
    )
}
