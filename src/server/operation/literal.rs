//! Checks that values in a document have the type of their place (sections 5.6 and 5.8 of the specification).

use std::collections::HashSet;

use async_graphql::{
    Name, Value as Given,
    parser::types::{BaseType, Type},
};

use super::ast::{Literal, Value, number};
use super::catalogue::{InfoKind, InputInfo, TypeInfo};
use super::fault::{fault_at, too_long};
use super::validate::{DocumentWalk, VariableUse};

/// Checks a value outside arguments and input fields, like the default of a variable.
pub(super) fn check<'d>(walk: &mut DocumentWalk<'d>, ty: &'d Type, value: &'d Value, path: String) {
    LiteralPlace { ty, has_default: false, in_one_of: false, bound: None }.check(walk, value, path);
}

/// Checks the value of an argument or of an input field.
pub(super) fn check_input<'d>(walk: &mut DocumentWalk<'d>, info: &'d InputInfo, value: &'d Value, path: String) {
    LiteralPlace { ty: &info.ty, has_default: info.has_default, in_one_of: false, bound: info.bound }
        .check(walk, value, path);
}

/// Walks a value of unknown type: notes its variables, and finds repeated fields. Every fault has the path of the whole
/// value, because the client decides how long and deep the value is inside.
pub(super) fn untyped<'d>(walk: &mut DocumentWalk<'d>, value: &'d Value, path: &str) {
    match &value.node {
        Literal::Variable(name) => walk.notes.uses.push(VariableUse {
            name,
            pos: value.pos,
            expected: None,
            has_default: false,
            in_one_of: false,
            bound: None,
            path: String::new(),
        }),
        Literal::Int(digits) | Literal::Float(digits) if number(digits).is_none() => {
            refuse(walk, path, "this number is beyond the range of a 64-bit float".to_owned(), value);
        }
        Literal::List(items) => items.iter().for_each(|item| untyped(walk, item, path)),
        Literal::Object(fields) => {
            let mut seen = HashSet::new();
            for (field, inner) in fields {
                once(walk, &mut seen, field, inner, path);
                untyped(walk, inner, path);
            }
        }
        _ => {}
    }
}

/// Refuses a field of an object that is given twice.
fn once<'d>(walk: &mut DocumentWalk<'d>, seen: &mut HashSet<&'d Name>, field: &'d Name, value: &Value, path: &str) {
    if !seen.insert(field) {
        refuse(walk, path, format!("the field {field} is given several times"), value);
    }
}

/// Returns the content of a literal. A variable in it becomes null, because its value is not known yet.
pub(super) fn constant(value: &Value) -> Given {
    match &value.node {
        Literal::Variable(_) | Literal::Null => Given::Null,
        Literal::Boolean(value) => Given::Boolean(*value),
        Literal::Int(digits) | Literal::Float(digits) => number(digits).map_or(Given::Null, Given::Number),
        Literal::String(text) => Given::String(text.clone()),
        Literal::Enum(word) => Given::Enum(word.clone()),
        Literal::List(items) => Given::List(items.iter().map(constant).collect()),
        Literal::Object(fields) => {
            Given::Object(fields.iter().map(|(name, value)| (name.clone(), constant(value))).collect())
        }
    }
}

struct LiteralPlace<'d> {
    ty: &'d Type,
    has_default: bool,
    in_one_of: bool,
    /// The most values of a list at this place.
    bound: Option<usize>,
}

impl<'d> LiteralPlace<'d> {
    fn check(self, walk: &mut DocumentWalk<'d>, value: &'d Value, path: String) {
        if let (Literal::List(items), Some(bound)) = (&value.node, self.bound)
            && items.len() > bound
        {
            walk.faults.push(too_long(&path, items.len(), bound, value.pos));
            untyped(walk, value, &path);
            return;
        }
        match &value.node {
            Literal::Variable(name) => {
                let Self { ty, has_default, in_one_of, bound } = self;
                let pos = value.pos;
                walk.notes.uses.push(VariableUse {
                    name,
                    pos,
                    expected: Some(ty),
                    has_default,
                    in_one_of,
                    bound,
                    path,
                });
            }
            Literal::Null if self.ty.nullable && !self.in_one_of => {}
            Literal::Null => refuse(walk, &path, format!("this is of {} and cannot be null", self.ty), value),
            node => match (&self.ty.base, node) {
                (BaseType::List(of), Literal::List(items)) => {
                    for (index, item) in items.iter().enumerate() {
                        check(walk, of, item, format!("{path}.{index}"));
                    }
                }
                // A single value stands for a list of it.
                (BaseType::List(of), _) => check(walk, of, value, path),
                (BaseType::Named(name), _) => named(walk, name, value, &path),
            },
        }
    }
}

fn refuse(walk: &mut DocumentWalk<'_>, path: &str, message: String, value: &Value) {
    walk.faults.push(fault_at(path, message, value.pos));
}

fn named<'d>(walk: &mut DocumentWalk<'d>, name: &Name, value: &'d Value, path: &str) {
    // An unknown type is refused where it is named.
    let Some(ty) = walk.catalogue.get(name) else { return };
    match &ty.kind {
        InfoKind::Scalar if ty.is_custom_scalar() => custom(walk, ty, value, path),
        InfoKind::Scalar => {
            if let Some(message) = objection(name, &value.node) {
                refuse(walk, path, message, value);
            }
        }
        InfoKind::Enum(words) => match &value.node {
            Literal::Enum(word) if words.contains(word) => {}
            Literal::Enum(word) => refuse(walk, path, format!("{name} has no value {word}"), value),
            _ => refuse(walk, path, format!("this is not a {name}, whose values are words without quotes"), value),
        },
        InfoKind::Input { fields, one_of } => match &value.node {
            Literal::Object(given) => object(walk, (name, fields, *one_of), given, value, path),
            _ => refuse(walk, path, format!("this is not a {name}, which is an object"), value),
        },
        // A schema has no place of such a type, and a variable of such a type is refused already.
        InfoKind::Object(_) | InfoKind::Interface(_) | InfoKind::Union => {}
    }
}

fn custom<'d>(walk: &mut DocumentWalk<'d>, ty: &'d TypeInfo, value: &'d Value, path: &str) {
    untyped(walk, value, path);
    if let Some(message) = walk.catalogue.objection(ty, &constant(value)) {
        refuse(walk, path, format!("this is not a {}: {message}", ty.name), value);
    }
}

/// Returns the fault of a literal for a scalar of the specification.
fn objection(scalar: &str, literal: &Literal) -> Option<String> {
    let fits = match (scalar, literal) {
        ("Int", Literal::Int(digits)) if digits.parse::<i32>().is_err() => {
            return Some(format!("this is not an Int, which has 32 bits: {digits}"));
        }
        ("Int", Literal::Int(_)) | ("String" | "ID", Literal::String(_)) | ("Boolean", Literal::Boolean(_)) => true,
        ("ID", Literal::Int(_)) => true,
        ("Float", Literal::Int(digits) | Literal::Float(digits)) => digits.parse::<f64>().is_ok_and(f64::is_finite),
        _ => false,
    };
    (!fits).then(|| format!("this is not {} {scalar}", if matches!(scalar, "Int" | "ID") { "an" } else { "a" }))
}

fn object<'d>(
    walk: &mut DocumentWalk<'d>,
    (name, fields, one_of): (&Name, &'d [InputInfo], bool),
    given: &'d [(Name, Value)],
    value: &'d Value,
    path: &str,
) {
    let mut seen = HashSet::new();
    for (field, inner) in given {
        let path = format!("{path}.{field}");
        once(walk, &mut seen, field, inner, &path);
        match fields.iter().find(|info| info.name == *field) {
            Some(info) => {
                let place =
                    LiteralPlace { ty: &info.ty, has_default: info.has_default, in_one_of: one_of, bound: info.bound };
                place.check(walk, inner, path);
            }
            None => {
                refuse(walk, &path, format!("{name} has no field {field}"), inner);
                untyped(walk, inner, &path);
            }
        }
    }
    for info in fields.iter().filter(|info| info.is_required() && !seen.contains(&info.name)) {
        let message = format!("{name} needs the field {} of type {}", info.name, info.ty);
        refuse(walk, &format!("{path}.{}", info.name), message, value);
    }
    if one_of && given.len() != 1 {
        refuse(walk, path, format!("exactly one field of {name} is given"), value);
    }
}
