//! Objects whose fields need no waiting are resolved in one pass over their selection.
//!
//! async-graphql makes a future on the heap for each selected field of each object, as large as the largest resolver of
//! the type. For a page of 50 rows with 20 fields, that is most of the work. Here, fields that only return a value are
//! resolved one after the other, in place. Other fields get their futures as before, and so do all fields of an answer
//! that is counted while it is made ([`IsCounted`]).

use std::borrow::Cow;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{Field, Selection};
use async_graphql::registry::Registry;
use async_graphql::resolver_utils::{ContainerType, resolve_container, resolve_list};
use async_graphql::{ContextSelectionSet, Name, OutputType, Positioned, ServerResult, Value};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::budget::IsCounted;

/// An object some of whose fields need no waiting.
pub(super) trait AtHand: ContainerType {
    /// The object that holds only these fields, under the same names.
    type Fields: ContainerType;

    /// Returns the object that holds these fields.
    fn at_hand(&self) -> &Self::Fields;
}

/// An object that is resolved in one pass. In the schema it is the object itself.
pub(super) struct AtOnce<T>(pub T);

/// A list of objects whose fields all need no waiting. In the schema it is the list of the objects.
pub(super) struct AllAtOnce<T>(pub Vec<T>);

impl<T: AtHand> OutputType for AtOnce<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn introspection_type_name(&self) -> Cow<'static, str> {
        self.0.introspection_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, _field: &Positioned<Field>) -> ServerResult<Value> {
        resolve(ctx, &self.0).await
    }
}

impl<T: AtHand> OutputType for AllAtOnce<T> {
    fn type_name() -> Cow<'static, str> {
        Vec::<T>::type_name()
    }

    fn qualified_type_name() -> String {
        Vec::<T>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Vec::<T>::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        if ctx.data_opt::<IsCounted>().is_some() {
            return resolve_list(ctx, field, &self.0, Some(self.0.len())).await;
        }
        let mut list = Vec::with_capacity(self.0.len());
        for (index, object) in self.0.iter().enumerate() {
            let ctx = ctx.with_index(index);
            list.push(resolve(&ctx, object).await.map_err(|error| ctx.set_error_path(error))?);
        }
        Ok(Value::List(list))
    }
}

async fn resolve<T: AtHand>(ctx: &ContextSelectionSet<'_>, object: &T) -> ServerResult<Value> {
    if ctx.data_opt::<IsCounted>().is_some() {
        return resolve_container(ctx, object).await;
    }
    let items = &ctx.item.node.items;
    // async-graphql decides which fragments apply to a type.
    let fields = items.iter().map(|item| match &item.node {
        Selection::Field(field) if field.node.directives.is_empty() => Some(field),
        _ => None,
    });
    let Some(fields) = fields.collect::<Option<Vec<_>>>() else { return resolve_container(ctx, object).await };
    let mut resolved: IndexMap<Name, Value> = IndexMap::with_capacity(fields.len());
    let mut rest = Vec::new();
    for field in fields {
        let key = &field.node.response_key().node;
        if field.node.name.node == "__typename" {
            resolved.insert(key.clone(), Value::String(object.introspection_type_name().into_owned()));
            continue;
        }
        match object.at_hand().resolve_field(&ctx.with_field(field)).await {
            Ok(Some(value)) => {
                resolved.insert(key.clone(), value);
            }
            Ok(None) => rest.push(field),
            Err(error) => ctx.add_error(error),
        }
    }
    // These futures are polled concurrently, so that the fields of a list can collect their keys.
    let mut rest: FuturesUnordered<_> = rest
        .into_iter()
        .map(async |field| (&field.node.response_key().node, object.resolve_field(&ctx.with_field(field)).await))
        .collect();
    while let Some((key, value)) = rest.next().await {
        match value {
            Ok(value) => {
                resolved.insert(key.clone(), value.unwrap_or_default());
            }
            Err(error) => ctx.add_error(error),
        }
    }
    Ok(if resolved.is_empty() { Value::Null } else { Value::Object(resolved) })
}
