//! The public GraphQL API: the schema, its answers and its errors.

mod account;
mod activity;
mod alert;
mod alert_delta;
mod alert_filter;
mod alert_log;
mod as_of;
mod at_once;
mod attachment;
mod bookmark;
pub mod bounds;
pub mod budget;
mod bulk;
mod call;
mod comment;
mod connection;
mod context;
mod correlation;
mod desk_log;
mod detail;
mod entry;
pub mod error;
mod event;
mod filter;
mod incident;
mod input;
pub(crate) mod json;
mod loaders;
mod markdown;
mod merge;
mod mutation;
pub mod packed;
mod page;
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
mod saved_filter;
pub mod searches;
pub mod selected;
mod shared_fields;
mod similar;
mod subscription;
mod summary;
mod tag;
mod view;

use std::ops::Deref;
use std::sync::Arc;

use async_graphql::connection::PageInfo;
use async_graphql::{
    EmptyMutation, EmptySubscription, InputType, Pos, Request, SDLExportOptions, SchemaBuilder, ValidationMode, Value,
};
use uuid::Uuid;

use crate::app::App;
use crate::domain::Instant;
use crate::realtime::budget::StreamBudget;
use crate::realtime::feed::FeedSource;

use budget::Budget;
use event::EventSchema;

pub use context::{ApiLimits, FromBoard, Viewer, admit_request};
pub use event::{PlacedResponse, ResponseStream};
pub use mutation::Mutation;
pub use query::Query;
pub use shared_fields::SHARED_FIELDS;
pub use subscription::{Subscription, resumes, scope, sight};

/// The desk's schema.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// How deep a document may nest fragments. The canonical operation that comes here has no nested fragments, so this
/// limit of async-graphql is only a fallback.
const RECURSION_MAX: usize = 32;

/// The schema of the desk and the schema of the events of its streams, each in two versions. One version counts the
/// bytes that it resolves, for answers that may be large; the other does not count.
#[derive(Clone)]
pub struct Api {
    plain: Schema,
    counting: Schema,
    plain_events: EventSchema,
    counting_events: EventSchema,
}

impl Api {
    /// Returns the schema that counts, or the schema that does not.
    pub fn counting(&self, counts: bool) -> &Schema {
        if counts { &self.counting } else { &self.plain }
    }

    /// Executes a subscription with a budget for each item. `counts` is as in [`Self::counting`].
    pub fn execute_stream(&self, request: Request, budget: Arc<Budget>, counts: bool) -> ResponseStream {
        let events = if counts { &self.counting_events } else { &self.plain_events };
        let create = |request| self.counting(counts).execute_stream(request);
        event::execute(request, create, events.clone(), budget)
    }
}

impl Deref for Api {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        &self.plain
    }
}

/// Builds the schema over a desk. The cost of a document is checked before the document comes here.
pub fn schema(app: App, source: FeedSource, limits: ApiLimits) -> Api {
    let answers = response_times::CachedAnswers::default();
    let streams = StreamBudget::new(limits.streams);
    let build = |app: App, source: FeedSource| {
        builder()
            .data(app)
            .data(source)
            .data(limits)
            .data(streams.clone())
            .data(answers.clone())
            .limit_recursive_depth(RECURSION_MAX)
            // The operation that comes here is canonical and already validated.
            .validation_mode(ValidationMode::Fast)
    };
    // Interfaces that no event has are left out: a canonical operation names only object types.
    let events = || {
        async_graphql::Schema::build(event::Events, EmptyMutation, EmptySubscription)
            .limit_recursive_depth(RECURSION_MAX)
            .validation_mode(ValidationMode::Fast)
    };
    Api {
        plain: build(app.clone(), source.clone()).finish(),
        counting: build(app, source).extension(budget::Counting).data(budget::IsCounted).finish(),
        plain_events: events().finish(),
        counting_events: events().extension(budget::Counting).data(budget::IsCounted).finish(),
    }
}

/// Begins a schema. async-graphql gives connections no description, and describes its own types for the authors of
/// servers, so these types get a description here.
fn builder() -> SchemaBuilder<Query, Mutation, Subscription> {
    async_graphql::Schema::build(Query, Mutation::default(), Subscription)
        .register_output_type::<queue::QueueFields>()
        .override_output_type_description::<alert::AlertConnection>("A page of alerts.")
        .override_output_type_description::<alert_log::AlertChangeConnection>("A page of the log of an alert.")
        .override_output_type_description::<as_of::AlertAsOfConnection>("A page of the alerts that an incident held.")
        .override_output_type_description::<as_of::CommentAsOfConnection>(
            "A page of the comments that an incident had.",
        )
        .override_output_type_description::<comment::CommentRevisionConnection>("A page of the texts of a comment.")
        .override_output_type_description::<bookmark::BookmarkConnection>("A page of bookmarks.")
        .override_output_type_description::<bulk::BulkItemConnection>("A page of the incidents of a bulk job.")
        .override_output_type_description::<bulk::BulkJobConnection>("A page of bulk jobs.")
        .override_output_type_description::<activity::ChangeConnection>("A page of an activity log.")
        .override_output_type_description::<desk_log::DeskLogConnection>("A page of the log of the desk.")
        .override_output_type_description::<incident::CommentConnection>("A page of comments.")
        .override_output_type_description::<account::GroupConnection>("A page of groups.")
        .override_output_type_description::<incident::IncidentConnection>("A page of a queue.")
        .override_output_type_description::<account::UserConnection>("A page of users.")
        .override_output_type_description::<PageInfo>(
            "The cursors of a page, and whether the list has items before and after the page.",
        )
        .override_output_type_description::<Instant>(
            "A time as text in the form of RFC 3339. An input has any offset from UTC, for example \
            `2026-12-01T09:00:00+01:00`; digits after the microsecond are cut off. An output is in UTC, ends with \
            `+00:00`, and has 0, 3 or 6 digits after the second, for example `2026-12-01T08:00:00.462675+00:00`. In \
            `extensions` of an error a time ends with `Z`. So compare the values of times, not their texts.",
        )
        .override_input_type_description::<Uuid>("A UUID as text in the form of RFC 4122.")
}

/// Returns the schema as sorted text, as in `schema.graphql`.
pub fn sdl() -> String {
    builder().finish().sdl_with_options(
        SDLExportOptions::new().sorted_fields().sorted_arguments().sorted_enum_items().include_specified_by(),
    )
}

/// Returns why a value is invalid for one of the desk's scalars; `None` if it is valid.
pub fn scalar_objection(scalar: &str, value: &Value) -> Option<String> {
    let wrong = match scalar {
        "DateTime" => Instant::parse(Some(value.clone())).err()?.into_server_error(Pos::default()),
        "UUID" => Uuid::parse(Some(value.clone())).err()?.into_server_error(Pos::default()),
        _ => return None,
    };
    let why = wrong.message.strip_prefix("Failed to parse ").and_then(|it| it.split_once("\": "));
    Some(why.map_or(wrong.message.clone(), |(_, why)| why.to_owned()))
}
