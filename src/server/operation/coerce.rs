//! The values of variables, as section 6.1.2 of the specification (September 2025) has them: of their types, defaults applied, one
//! value for a list made a list, and those that are not given left out.
//!
//! Values are moved and not copied. Fields of inputs come out in the order of the schema, so that equal values are equal texts.

use async_graphql::{
    Name, Number, ServerError, Value, Variables,
    parser::types::{BaseType, Type},
};
use async_graphql_value::indexmap::IndexMap;

use super::ast::{Operation, Variable};
use super::catalogue::{Catalogue, InputInfo, Kind, TypeInfo};
use super::lists::{Path, Step};
use super::literal;
use crate::{domain, graphql::error::server_error};

/// So many faults of one request's variables are told.
const FAULTS_TOLD: usize = 20;

/// Coerces what a request gives to what an operation declares; what it does not declare is left out.
pub(super) fn variables(
    catalogue: &Catalogue,
    operation: &Operation,
    mut given: Variables,
) -> Result<Variables, Vec<ServerError>> {
    let mut coerced = Variables::default();
    let mut coercion = Coercion { catalogue, faults: Vec::new() };
    for variable in &operation.variables {
        let path = Path { parent: None, step: Step::Variable(&variable.name) };
        let value = match given.remove(&variable.name) {
            Some(Value::Null) if !variable.ty.nullable => {
                coercion.refuse(&path, missing(variable), variable);
                continue;
            }
            Some(value) => coercion.value(&variable.ty, value, &path, variable),
            None => match variable.default.as_ref().map(literal::constant) {
                Some(default) => coercion.value(&variable.ty, default, &path, variable),
                None if !variable.ty.nullable => {
                    coercion.refuse(&path, missing(variable), variable);
                    continue;
                }
                None => continue,
            },
        };
        coerced.insert(variable.name.clone(), value);
    }
    match coercion.faults.is_empty() {
        true => Ok(coerced),
        false => Err(coercion.faults),
    }
}

fn missing(variable: &Variable) -> String {
    format!("the variable ${} of type {} needs a value", variable.name, variable.ty)
}

struct Coercion<'c> {
    catalogue: &'c Catalogue,
    faults: Vec<ServerError>,
}

impl Coercion<'_> {
    fn refuse(&mut self, path: &Path<'_>, message: String, variable: &Variable) {
        if self.faults.len() < FAULTS_TOLD {
            let mut fault = server_error(domain::Error::invalid(path.to_string(), message));
            fault.locations = vec![variable.pos];
            self.faults.push(fault);
        }
    }

    /// The value as its type has it; a value that is refused is noted, and what comes back means nothing then.
    fn value(&mut self, ty: &Type, value: Value, path: &Path<'_>, variable: &Variable) -> Value {
        match (&ty.base, value) {
            (_, Value::Null) => {
                if !ty.nullable {
                    self.refuse(path, format!("this is of {ty} and cannot be null"), variable);
                }
                Value::Null
            }
            (BaseType::List(of), Value::List(items)) => {
                let item = |(index, item)| {
                    let path = Path { parent: Some(path), step: Step::Index(index) };
                    self.value(of, item, &path, variable)
                };
                Value::List(items.into_iter().enumerate().map(item).collect())
            }
            (BaseType::List(of), value) => Value::List(vec![self.value(of, value, path, variable)]),
            (BaseType::Named(name), value) => match self.catalogue.get(name) {
                Some(info) => self.named(info, value, path, variable),
                None => value,
            },
        }
    }

    fn named(&mut self, info: &TypeInfo, value: Value, path: &Path<'_>, variable: &Variable) -> Value {
        let name = &info.name;
        match (&info.kind, value) {
            (Kind::Input { fields, one_of }, Value::Object(given)) => {
                self.object((name, fields, *one_of), given, path, variable)
            }
            (Kind::Input { .. }, value) => {
                self.refuse(path, format!("this is not a {name}, which is an object"), variable);
                value
            }
            (Kind::Enum(words), value) => {
                let known = match &value {
                    Value::String(word) => words.contains(word.as_str()),
                    Value::Enum(word) => words.contains(word),
                    _ => false,
                };
                if !known {
                    let message = match &value {
                        Value::String(word) if word.len() <= 64 => format!("{name} has no value {word}"),
                        _ => format!("this is not a {name}"),
                    };
                    self.refuse(path, message, variable);
                }
                value
            }
            (_, value) if info.is_custom_scalar() => {
                if let Some(message) = self.catalogue.objection(info, &value) {
                    self.refuse(path, format!("this is not a {name}: {message}"), variable);
                }
                value
            }
            (_, value) => match scalar(name, value) {
                Ok(value) => value,
                Err(message) => {
                    self.refuse(path, message, variable);
                    Value::Null
                }
            },
        }
    }

    fn object(
        &mut self,
        (name, fields, one_of): (&Name, &[InputInfo], bool),
        mut given: IndexMap<Name, Value>,
        path: &Path<'_>,
        variable: &Variable,
    ) -> Value {
        let count = given.len();
        let mut object = IndexMap::with_capacity(count);
        for info in fields {
            let path = Path { parent: Some(path), step: Step::Field(&info.name) };
            match given.swap_remove(&info.name) {
                Some(value) => {
                    let is_null = value == Value::Null;
                    let value = self.value(&info.ty, value, &path, variable);
                    if one_of && is_null {
                        self.refuse(&path, format!("the one field of {name} that is given cannot be null"), variable);
                    }
                    object.insert(info.name.clone(), value);
                }
                None if info.is_required() => {
                    self.refuse(&path, format!("{name} needs the field {} of type {}", info.name, info.ty), variable);
                }
                None => {}
            }
        }
        for unknown in given.keys() {
            let path = Path { parent: Some(path), step: Step::Field(unknown) };
            self.refuse(&path, format!("{name} has no field {unknown}"), variable);
        }
        if one_of && count != 1 {
            self.refuse(path, format!("exactly one field of {name} is given"), variable);
        }
        Value::Object(object)
    }
}

/// A value of one of the specification's scalars. JSON has one kind of number: 1.0 is a whole one.
fn scalar(name: &str, value: Value) -> Result<Value, String> {
    match (name, value) {
        ("Int", Value::Number(number)) => match whole(&number).and_then(|whole| i32::try_from(whole).ok()) {
            Some(whole) => Ok(Value::Number(whole.into())),
            None => Err(format!("this is not an Int, which is whole and has 32 bits: {number}")),
        },
        ("ID", Value::Number(number)) => match whole(&number) {
            Some(whole) => Ok(Value::String(whole.to_string())),
            None => Err(format!("this is not an ID: {number}")),
        },
        ("Float", value @ Value::Number(_)) | ("String" | "ID", value @ Value::String(_)) => Ok(value),
        ("Boolean", value @ Value::Boolean(_)) => Ok(value),
        ("Int" | "ID", _) => Err(format!("this is not an {name}")),
        _ => Err(format!("this is not a {name}")),
    }
}

/// The number, if it is whole. Floats are exact up to 2^53, beyond which digits would be invented.
fn whole(number: &Number) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    integer.or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
        format!("{float:.0}").parse().ok()
    })
}
