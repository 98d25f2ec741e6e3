//! Puts an answer into the form of the specification. Names stand in the order of the document (section 7.2.2). An
//! object is an object even if none of its fields was selected. Nulls stand where section 6.4.4 wants them.
//!
//! The library executes the fields of an object concurrently, and adds them to the answer as they finish. A failed
//! field that may not be null is missing there; the nearest enclosing nullable object becomes null.

use async_graphql::{
    Name, PathSegment, Response, ServerError, Value,
    parser::types::{BaseType, Type},
};
use async_graphql_value::indexmap::IndexMap;

use super::canonical::{Field, Selection};
use super::lower::TAG;

/// Puts an answer into the form that `root` selects.
#[must_use]
pub(super) fn settle(root: &Selection, mut response: Response) -> Response {
    let mut settling = Settling { errors: &response.errors, path: Vec::new() };
    let is_request_error = !response.errors.is_empty() && response.errors.iter().all(|error| error.path.is_empty());
    if response.data == Value::Null && is_request_error {
        return response;
    }
    if response.data == Value::Null {
        response.data = Value::Object(IndexMap::new());
    }
    if settling.object(&mut response.data, root) == Nullity::Falls {
        response.data = Value::Null;
    }
    response
}

/// Whether a value stays, or has to become null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nullity {
    Holds,
    Falls,
}

/// A step on the path to a value.
enum PathStep<'s> {
    Key(&'s str),
    Index(usize),
}

struct Settling<'s> {
    errors: &'s [ServerError],
    path: Vec<PathStep<'s>>,
}

impl<'s> Settling<'s> {
    fn value(&mut self, value: &mut Value, ty: &Type, field: &'s Field) -> Nullity {
        match (&ty.base, &mut *value) {
            (BaseType::Named(_), Value::Null) if field.selection.is_some() && self.fails_below() => {
                // Every selected field failed, and some of them may be null.
                *value = Value::Object(IndexMap::new());
            }
            (_, Value::Null) => return if ty.nullable { Nullity::Holds } else { Nullity::Falls },
            (BaseType::List(of), Value::List(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.path.push(PathStep::Index(index));
                    let standing = self.value(item, of, field);
                    self.path.pop();
                    if standing == Nullity::Falls {
                        if !of.nullable {
                            return Nullity::Falls;
                        }
                        *item = Value::Null;
                    }
                }
                return Nullity::Holds;
            }
            _ => {}
        }
        match &field.selection {
            Some(selection) => self.object(value, selection),
            None => Nullity::Holds,
        }
    }

    fn object(&mut self, value: &mut Value, selection: &'s Selection) -> Nullity {
        let Value::Object(object) = value else { return Nullity::Holds };
        let tag = if selection.is_tagged { object.shift_remove(TAG) } else { None };
        let group = match &tag {
            Some(Value::String(ty)) => selection.groups.iter().find(|it| it.types.iter().any(|name| name == ty)),
            _ => selection.groups.first(),
        };
        let Some(group) = group else { return Nullity::Holds };
        let is_ordered = object.len() == group.fields.len()
            && object.keys().zip(&group.fields).all(|(key, field)| *key == field.key);
        if !is_ordered {
            let mut found = std::mem::take(object);
            object.reserve(group.fields.len());
            for field in &group.fields {
                let value = found.swap_remove(&field.key).unwrap_or_default();
                object.insert(field.key.clone(), value);
            }
        }
        for (field, (_, value)) in group.fields.iter().zip(object.iter_mut()) {
            // A leaf that is not null stays.
            if field.selection.is_none() && *value != Value::Null && !matches!(value, Value::List(_)) {
                continue;
            }
            self.path.push(PathStep::Key(&field.key));
            let standing = self.value(value, &field.ty, field);
            self.path.pop();
            if standing == Nullity::Falls {
                if !field.ty.nullable {
                    return Nullity::Falls;
                }
                *value = Value::Null;
            }
        }
        Nullity::Holds
    }

    /// Returns whether a field below this value failed, so that there was an object.
    fn fails_below(&self) -> bool {
        let same = |(step, segment): (&PathStep<'_>, &PathSegment)| match (step, segment) {
            (PathStep::Key(key), PathSegment::Field(field)) => key == field,
            (PathStep::Index(index), PathSegment::Index(at)) => index == at,
            _ => false,
        };
        self.errors.iter().any(|error| {
            error.path.len() > self.path.len()
                && self.path.iter().zip(&error.path).all(same)
                && matches!(error.path[self.path.len()], PathSegment::Field(_))
        })
    }
}

/// The answer to an operation without fields.
pub(super) fn empty() -> Response {
    Response::new(Value::Object(IndexMap::<Name, Value>::new()))
}
