//! The syntax tree of a document as its client wrote it: names, values and their places in the text.
//!
//! Strings are decoded and block strings are dedented. All else is unchanged, so that errors point into the client's
//! text.

use async_graphql::{
    Name, Number, Pos,
    parser::types::{OperationType, Type},
};

/// A document of operations and fragments, in the order of the text.
#[derive(Debug)]
pub(super) struct Document {
    /// All operations; a valid document has at least one.
    pub operations: Vec<OperationNode>,
    /// All named fragments.
    pub fragments: Vec<Fragment>,
    /// The number of lexical tokens of the text.
    pub tokens: usize,
}

/// An operation of a document.
#[derive(Debug)]
pub(super) struct OperationNode {
    /// Query, mutation or subscription.
    pub ty: OperationType,
    /// The name; `None` for an anonymous operation.
    pub name: Option<Name>,
    /// The variables that it declares.
    pub variables: Vec<Variable>,
    /// The directives of the operation itself.
    pub directives: Vec<Directive>,
    /// The selected root fields.
    pub selections: Vec<SelectionNode>,
    /// The place where it begins.
    pub pos: Pos,
}

/// A variable that an operation declares.
#[derive(Debug)]
pub(super) struct Variable {
    /// The name without the `$`.
    pub name: Name,
    /// The type of its values.
    pub ty: Type,
    /// The value if the request gives none.
    pub default: Option<Value>,
    /// The directives of the declaration.
    pub directives: Vec<Directive>,
    /// The place of the declaration.
    pub pos: Pos,
}

/// The definition of a named fragment.
#[derive(Debug)]
pub(super) struct Fragment {
    /// The name that spreads use.
    pub name: Name,
    /// The type to which it applies.
    pub on: Name,
    /// The directives of the definition.
    pub directives: Vec<Directive>,
    /// The selected items.
    pub selections: Vec<SelectionNode>,
    /// The place where it begins.
    pub pos: Pos,
}

/// One item of a selection set.
#[derive(Debug)]
pub(super) enum SelectionNode {
    /// A field.
    Field(Box<FieldNode>),
    /// A spread of a named fragment.
    Spread(Spread),
    /// An inline fragment.
    Inline(Inline),
}

impl SelectionNode {
    /// Returns the directives of the item.
    pub(super) fn directives(&self) -> &[Directive] {
        match self {
            Self::Field(field) => &field.directives,
            Self::Spread(spread) => &spread.directives,
            Self::Inline(inline) => &inline.directives,
        }
    }
}

/// A selected field.
#[derive(Debug)]
pub(super) struct FieldNode {
    /// The alias, if it has one.
    pub alias: Option<Name>,
    /// The name in the schema.
    pub name: Name,
    /// The arguments as written.
    pub arguments: Vec<Argument>,
    /// The directives of the field.
    pub directives: Vec<Directive>,
    /// The selected items of its value; empty for a leaf, because the grammar has no empty braces.
    pub selections: Vec<SelectionNode>,
    /// The place where it begins.
    pub pos: Pos,
}

impl FieldNode {
    /// Returns the name in the answer: the alias or the name.
    pub(super) fn key(&self) -> &Name {
        self.alias.as_ref().unwrap_or(&self.name)
    }
}

/// A spread of a named fragment.
#[derive(Debug)]
pub(super) struct Spread {
    /// The name of the fragment.
    pub name: Name,
    /// The directives of the spread.
    pub directives: Vec<Directive>,
    /// The place in the text.
    pub pos: Pos,
}

/// An inline fragment.
#[derive(Debug)]
pub(super) struct Inline {
    /// The type to which it applies, if it names one.
    pub on: Option<Name>,
    /// The directives of the fragment.
    pub directives: Vec<Directive>,
    /// The selected items.
    pub selections: Vec<SelectionNode>,
    /// The place in the text.
    pub pos: Pos,
}

/// A directive and its arguments.
#[derive(Debug)]
pub(super) struct Directive {
    /// The name without the `@`.
    pub name: Name,
    /// The arguments as written.
    pub arguments: Vec<Argument>,
    /// The place in the text.
    pub pos: Pos,
}

/// An argument of a field or of a directive.
#[derive(Debug)]
pub(super) struct Argument {
    /// The name in the schema.
    pub name: Name,
    /// The given value.
    pub value: Value,
    /// The place in the text.
    pub pos: Pos,
}

/// A value and its place in the text.
#[derive(Debug)]
pub(super) struct Value {
    /// The value itself.
    pub node: Literal,
    /// The place in the text.
    pub pos: Pos,
}

/// A value as it is written in a document.
#[derive(Debug)]
pub(super) enum Literal {
    /// `$name`
    Variable(Name),
    /// The digits as written, because an `ID` may be longer than any number type.
    Int(String),
    /// The digits as written.
    Float(String),
    /// The content of a string, decoded.
    String(String),
    /// `true` or `false`
    Boolean(bool),
    /// `null`
    Null,
    /// A name without quotes.
    Enum(Name),
    /// `[…]`
    List(Vec<Value>),
    /// `{…}`, in the order of the text.
    Object(Vec<(Name, Value)>),
}

/// Returns a number as JSON holds it. Beyond 64 bits it is the nearest float; beyond the range of floats it is `None`.
pub(super) fn number(digits: &str) -> Option<Number> {
    let whole = digits.parse::<i64>().map(Number::from).or_else(|_| digits.parse::<u64>().map(Number::from));
    whole.ok().or_else(|| Number::from_f64(digits.parse().ok()?))
}
