//! A document as its client wrote it: names, values and where each of them stands.
//!
//! Strings are decoded and block strings are dedented; nothing else is changed, so that errors can point into the client's own text.

use async_graphql::{
    Name, Pos,
    parser::types::{OperationType, Type},
};

/// A document of operations and fragments, in the order of the text.
#[derive(Debug)]
pub struct Document {
    /// At least one in a valid document.
    pub operations: Vec<Operation>,
    /// The named fragments.
    pub fragments: Vec<Fragment>,
    /// Words and signs of the text.
    pub tokens: usize,
}

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// Query, mutation or subscription.
    pub ty: OperationType,
    /// Its name, if it has one.
    pub name: Option<Name>,
    /// The variables that it declares.
    pub variables: Vec<Variable>,
    /// Directives of the operation itself.
    pub directives: Vec<Directive>,
    /// The fields of the root.
    pub selections: Vec<Selection>,
    /// Where it begins.
    pub pos: Pos,
}

/// A variable that an operation declares.
#[derive(Debug)]
pub struct Variable {
    /// Without the `$`.
    pub name: Name,
    /// What it may hold.
    pub ty: Type,
    /// What it holds where the request says nothing.
    pub default: Option<Value>,
    /// Directives of the declaration.
    pub directives: Vec<Directive>,
    /// Where it is declared.
    pub pos: Pos,
}

/// A named fragment.
#[derive(Debug)]
pub struct Fragment {
    /// Its name.
    pub name: Name,
    /// The type that it is made for.
    pub on: Name,
    /// Directives of the definition.
    pub directives: Vec<Directive>,
    /// What it selects.
    pub selections: Vec<Selection>,
    /// Where it begins.
    pub pos: Pos,
}

/// One item of a selection set.
#[derive(Debug)]
pub enum Selection {
    /// A field.
    Field(Box<Field>),
    /// A named fragment that is put here.
    Spread(Spread),
    /// A fragment without a name.
    Inline(Inline),
}

impl Selection {
    /// The directives of the item.
    pub fn directives(&self) -> &[Directive] {
        match self {
            Self::Field(field) => &field.directives,
            Self::Spread(spread) => &spread.directives,
            Self::Inline(inline) => &inline.directives,
        }
    }
}

/// A field and what is asked of it.
#[derive(Debug)]
pub struct Field {
    /// The name in the answer, where it is another one.
    pub alias: Option<Name>,
    /// The name in the schema.
    pub name: Name,
    /// Its arguments, as written.
    pub arguments: Vec<Argument>,
    /// Its directives.
    pub directives: Vec<Directive>,
    /// What is selected of it; empty for a leaf, as the grammar has no empty braces.
    pub selections: Vec<Selection>,
    /// Where it begins.
    pub pos: Pos,
}

impl Field {
    /// The name in the answer.
    pub fn key(&self) -> &Name {
        self.alias.as_ref().unwrap_or(&self.name)
    }
}

/// The place of a named fragment.
#[derive(Debug)]
pub struct Spread {
    /// Which fragment.
    pub name: Name,
    /// Its directives.
    pub directives: Vec<Directive>,
    /// Where it stands.
    pub pos: Pos,
}

/// A fragment without a name.
#[derive(Debug)]
pub struct Inline {
    /// The type that it is made for, where it says so.
    pub on: Option<Name>,
    /// Its directives.
    pub directives: Vec<Directive>,
    /// What it selects.
    pub selections: Vec<Selection>,
    /// Where it stands.
    pub pos: Pos,
}

/// A directive and its arguments.
#[derive(Debug)]
pub struct Directive {
    /// Without the `@`.
    pub name: Name,
    /// Its arguments, as written.
    pub arguments: Vec<Argument>,
    /// Where it stands.
    pub pos: Pos,
}

/// An argument of a field or of a directive.
#[derive(Debug)]
pub struct Argument {
    /// Its name.
    pub name: Name,
    /// What is given.
    pub value: Value,
    /// Where it stands.
    pub pos: Pos,
}

/// A value and where it stands.
#[derive(Debug)]
pub struct Value {
    /// The value.
    pub node: Literal,
    /// Where it stands.
    pub pos: Pos,
}

/// A value as it is written in a document.
#[derive(Debug)]
pub enum Literal {
    /// `$name`
    Variable(Name),
    /// Digits as written: an `ID` may be longer than any number type.
    Int(String),
    /// Digits as written.
    Float(String),
    /// The text that a string means.
    String(String),
    /// `true` or `false`
    Boolean(bool),
    /// `null`
    Null,
    /// A word.
    Enum(Name),
    /// `[…]`
    List(Vec<Value>),
    /// `{…}`, in the order of the text.
    Object(Vec<(Name, Value)>),
}
