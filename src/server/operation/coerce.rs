//! Coerces the values of variables to their types (section 6.1.2 of the specification, September 2025). Defaults are
//! applied, a single value for a list becomes a list, and variables without a value are left out.
//!
//! One function walks the given text twice. The first walk makes sketches, from which the request is accepted or
//! refused. The second walk makes the values. Input fields come out in the order of the schema, so that equal values
//! have equal texts.

use std::borrow::Cow;

use async_graphql::{
    Name, Number, ServerError, Value,
    parser::types::{BaseType, Type},
};
use async_graphql_value::indexmap::IndexMap;

use super::ast::{OperationNode, Variable};
use super::canonical;
use super::catalogue::{Catalogue, InfoKind, InputInfo, TypeInfo};
use super::coerced::Coerced;
use super::fault::{LastStep, Path};
use super::given::{GivenItem, Json, ObjectFields};
use crate::{domain, graphql::error::server_error};

/// The most faults in the variables of one request that a refusal lists.
const FAULTS_TOLD: usize = 20;

/// A refusal shows a list or an object that is given for a scalar, unless its text is longer.
const SHOWN_BYTES_MAX: usize = 1_024;

/// A refusal shows at most this much of the name of an unknown field. No field of the schema has so long a name.
const SHOWN_NAME_BYTES_MAX: usize = 256;

/// Coerces the values of a request for the variables of an operation. `given` has an item for each variable that the
/// operation declares.
pub(super) fn variables<M: Coerced, C: FromIterator<(Name, M)>>(
    catalogue: &Catalogue,
    operation: &OperationNode,
    given: &[Option<GivenItem<'_>>],
) -> Result<C, Vec<ServerError>> {
    let mut coercion = Coercion { catalogue, faults: Vec::new() };
    let coerced = operation.variables.iter().zip(given).filter_map(|(variable, given)| {
        let value = coercion.variable(variable, *given)?;
        Some((variable.name.clone(), value))
    });
    let coerced = coerced.collect();
    if coercion.faults.is_empty() { Ok(coerced) } else { Err(coercion.faults) }
}

/// Returns the known fields of an object in the order of the text, each with the number of the field in its type. If a
/// name comes several times, the last value counts, at the place of the first.
pub(super) fn known<'g>(
    fields: &[InputInfo],
    given: ObjectFields<'g>,
    mut unknown: impl FnMut(Cow<'g, str>),
) -> Vec<(usize, GivenItem<'g>)> {
    let mut known: Vec<(usize, GivenItem<'g>)> = Vec::new();
    for (name, item) in given {
        let name = name.read();
        match fields.iter().position(|info| info.name == *name) {
            Some(field) => match known.iter_mut().find(|(other, _)| *other == field) {
                Some((_, earlier)) => *earlier = item,
                None => known.push((field, item)),
            },
            None => unknown(name),
        }
    }
    known
}

struct Coercion<'c> {
    catalogue: &'c Catalogue,
    faults: Vec<ServerError>,
}

impl Coercion<'_> {
    fn refuse(&mut self, path: &Path<'_>, message: impl FnOnce() -> String, variable: &Variable) {
        if self.faults.len() < FAULTS_TOLD {
            let mut fault = server_error(domain::Error::invalid(path.to_string(), message()));
            fault.locations = vec![variable.pos];
            self.faults.push(fault);
        }
    }

    /// Returns the value of a variable, if it has one.
    fn variable<M: Coerced>(&mut self, variable: &Variable, given: Option<GivenItem<'_>>) -> Option<M> {
        let path = Path { parent: None, step: LastStep::Variable(&variable.name) };
        let missing = || format!("the variable ${} of type {} needs a value", variable.name, variable.ty);
        match given {
            Some(item) if !variable.ty.nullable && matches!(item.read(), Json::Null) => {
                self.refuse(&path, missing, variable);
                None
            }
            Some(item) => Some(self.value(&variable.ty, item, &path, variable)),
            None => match &variable.default {
                Some(default) => Some(M::of(canonical::constant(self.catalogue, &variable.ty, default))),
                None if !variable.ty.nullable => {
                    self.refuse(&path, missing, variable);
                    None
                }
                None => None,
            },
        }
    }

    /// Coerces a value to its type. If the value is refused, a fault is noted, and the result has no meaning.
    fn value<M: Coerced>(&mut self, ty: &Type, item: GivenItem<'_>, path: &Path<'_>, variable: &Variable) -> M {
        match (&ty.base, item.read()) {
            (_, Json::Null) => {
                if !ty.nullable {
                    self.refuse(path, || format!("this is of {ty} and cannot be null"), variable);
                }
                M::of(Value::Null)
            }
            (BaseType::List(of), Json::List(items)) => {
                let item = |(index, item)| {
                    let path = Path { parent: Some(path), step: LastStep::Index(index) };
                    self.value(of, item, &path, variable)
                };
                M::list(items.length(), items.enumerate().map(item))
            }
            (BaseType::List(of), _) => M::list(1, std::iter::once(self.value(of, item, path, variable))),
            (BaseType::Named(name), json) => match self.catalogue.get(name) {
                Some(info) => self.named(info, (item, json), path, variable),
                None => untyped(item),
            },
        }
    }

    fn named<M: Coerced>(
        &mut self,
        info: &TypeInfo,
        (item, json): (GivenItem<'_>, Json<'_>),
        path: &Path<'_>,
        variable: &Variable,
    ) -> M {
        let name = &info.name;
        let coerced = match (&info.kind, json) {
            (InfoKind::Input { fields, one_of }, Json::Object(given)) => {
                return self.object((name, fields, *one_of), given, path, variable);
            }
            (InfoKind::Input { .. }, _) => Err(format!("this is not a {name}, which is an object")),
            (InfoKind::Enum(words), Json::Text(text)) => {
                let word = text.read();
                if words.contains(&*word) {
                    Ok(M::text(|| word.into_owned()))
                } else if word.len() <= 64 {
                    Err(format!("{name} has no value {word}"))
                } else {
                    Err(format!("this is not a {name}"))
                }
            }
            (InfoKind::Enum(_), _) => Err(format!("this is not a {name}")),
            (_, json) if info.is_custom_scalar() => match self.objection(info, item, &json) {
                None if info.is_json() => Ok(M::json(item.json(), || untyped(item))),
                None => Ok(untyped(item)),
                Some(message) => Err(format!("this is not a {name}: {message}")),
            },
            (_, json) => scalar(name, json),
        };
        coerced.unwrap_or_else(|message| {
            self.refuse(path, || message, variable);
            M::of(Value::Null)
        })
    }

    /// Returns the fault of a value for a custom scalar. A scalar that refuses an empty list refuses every list;
    /// likewise with objects.
    fn objection(&self, info: &TypeInfo, item: GivenItem<'_>, json: &Json<'_>) -> Option<String> {
        let empty = match json {
            Json::List(_) => Value::List(Vec::new()),
            Json::Object(_) => Value::Object(IndexMap::new()),
            _ => return self.catalogue.objection(info, &untyped(item)),
        };
        let objection = self.catalogue.objection(info, &empty)?;
        if item.bytes() <= SHOWN_BYTES_MAX { self.catalogue.objection(info, &untyped(item)) } else { Some(objection) }
    }

    fn object<M: Coerced>(
        &mut self,
        (name, fields, one_of): (&Name, &[InputInfo], bool),
        given: ObjectFields<'_>,
        path: &Path<'_>,
        variable: &Variable,
    ) -> M {
        // As many as a refusal lists, and enough to see that exactly one field is not given.
        let mut unknown: Vec<Cow<'_, str>> = Vec::new();
        let known = known(fields, given, |name| {
            if unknown.len() < FAULTS_TOLD && !unknown.contains(&name) {
                unknown.push(name);
            }
        });
        let value = fields.iter().enumerate().filter_map(|(field, info)| {
            let path = Path { parent: Some(path), step: LastStep::Field(&info.name) };
            let Some((_, item)) = known.iter().find(|(given, _)| *given == field) else {
                if info.is_required() {
                    let message = || format!("{name} needs the field {} of type {}", info.name, info.ty);
                    self.refuse(&path, message, variable);
                }
                return None;
            };
            let value = self.value(&info.ty, *item, &path, variable);
            if one_of && matches!(item.read(), Json::Null) {
                let message = || format!("the one field of {name} that is given cannot be null");
                self.refuse(&path, message, variable);
            }
            Some((|| info.name.clone(), value))
        });
        let object = M::object(known.len(), value);
        for unknown in &unknown {
            let unknown = shown(unknown);
            let path = Path { parent: Some(path), step: LastStep::Field(&unknown) };
            self.refuse(&path, || format!("{name} has no field {unknown}"), variable);
        }
        if one_of && known.len() + unknown.len() != 1 {
            self.refuse(path, || format!("exactly one field of {name} is given"), variable);
        }
        object
    }
}

/// Returns as much of a name as a refusal shows.
fn shown(name: &str) -> Cow<'_, str> {
    if name.len() <= SHOWN_NAME_BYTES_MAX {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{}…", &name[..name.floor_char_boundary(SHOWN_NAME_BYTES_MAX)]))
    }
}

/// Makes a value without a type to guide it.
pub(super) fn untyped<M: Coerced>(item: GivenItem<'_>) -> M {
    match item.read() {
        Json::Null => M::of(Value::Null),
        Json::Boolean(value) => M::of(Value::Boolean(value)),
        Json::Number(number) => M::of(Value::Number(number)),
        Json::Text(text) => M::text(|| text.read().into_owned()),
        Json::List(items) => M::list(items.length(), items.map(untyped)),
        Json::Object(fields) => {
            M::object(0, fields.map(|(name, item)| (move || Name::new(name.read()), untyped(item))))
        }
    }
}

/// Makes a value of a scalar of the specification. JSON has one kind of number, so 1.0 is a whole number.
fn scalar<M: Coerced>(name: &str, json: Json<'_>) -> Result<M, String> {
    match (name, json) {
        ("Int", Json::Number(number)) => match whole(&number).and_then(|whole| i32::try_from(whole).ok()) {
            Some(whole) => Ok(M::of(Value::Number(whole.into()))),
            None => Err(format!("this is not an Int, which is whole and has 32 bits: {number}")),
        },
        ("ID", Json::Number(number)) => match whole(&number) {
            Some(whole) => Ok(M::text(|| whole.to_string())),
            None => Err(format!("this is not an ID: {number}")),
        },
        ("Float", Json::Number(number)) => Ok(M::of(Value::Number(number))),
        ("String" | "ID", Json::Text(text)) => Ok(M::text(|| text.read().into_owned())),
        ("Boolean", Json::Boolean(value)) => Ok(M::of(Value::Boolean(value))),
        ("Int" | "ID", _) => Err(format!("this is not an {name}")),
        _ => Err(format!("this is not a {name}")),
    }
}

/// Returns the number, if it is whole. Floats are exact up to 2^53; beyond that their digits would be invented.
fn whole(number: &Number) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    integer.or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
        format!("{float:.0}").parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::desk::CATALOGUE;
    use crate::server::operation::given::Given;
    use crate::server::operation::limits::DocumentLimits;
    use crate::server::operation::operations::Operations;

    const QUEUE: &str = "query($f: IncidentFilterInput) { incidents(filter: $f) { totalCount } }";

    /// Returns the refusals of a filter.
    fn refusals(filter: &str) -> Vec<String> {
        let given = Given::read(&format!("{{\"f\":{filter}}}")).expect("an object");
        let prepared = Operations::new(CATALOGUE.clone(), DocumentLimits::default()).prepare(QUEUE, None, &given);
        prepared.err().into_iter().flatten().map(|error| error.message).collect()
    }

    #[test]
    fn the_last_of_several_fields_of_one_name_counts() {
        assert!(refusals(r#"{"status":["OLD"],"stat\u0075s":["NEW"]}"#).is_empty());
        assert_eq!(refusals(r#"{"status":["NEW"],"status":["OLD"]}"#), ["IncidentStatus has no value OLD"]);
    }

    #[test]
    fn faults_come_in_the_order_of_the_schema_and_unknown_fields_in_that_of_the_text() {
        let told = refusals(r#"{"z":1,"status":1,"é":{"a":2},"z":[],"number":"x"}"#);
        let expected = ["this is not an Int", "this is not a IncidentStatus"];
        let unknown = ["IncidentFilterInput has no field z", "IncidentFilterInput has no field é"];
        assert_eq!(told, [expected, unknown].concat());
        let many: Vec<String> = (0..5_000).map(|n| format!("\"f{n}\":{{}}")).collect();
        assert_eq!(refusals(&format!("{{{}}}", many.join(","))).len(), FAULTS_TOLD);
    }

    #[test]
    fn what_is_refused_is_not_shown_whole_if_it_is_long() {
        let of_time = |time: &str| refusals(&format!("{{\"created\":{{\"from\":{time}}}}}"));
        assert_eq!(
            of_time("[1,{\"a\":null}]"),
            ["this is not a DateTime: Expected input type \"DateTime\", found [1, {a: null}]."]
        );
        let long = of_time(&format!("[{}1]", "1,".repeat(2_000)));
        assert_eq!(long, ["this is not a DateTime: Expected input type \"DateTime\", found []."]);
        let name = refusals(&format!("{{\"{}\":1}}", "é".repeat(10_000)));
        assert_eq!(name, [format!("IncidentFilterInput has no field {}…", "é".repeat(128))]);
    }
}
