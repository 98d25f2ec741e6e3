//! The schema as tables for validation, coercion and the canonical operation.
//!
//! The tables are read once from the exported text, which clients see too.

use std::collections::{HashMap, HashSet};
use std::fmt;

use async_graphql::{
    Name, Value,
    parser::{
        parse_schema,
        types::{
            BaseType, FieldDefinition, InputValueDefinition, OperationType, Type, TypeDefinition, TypeKind,
            TypeSystemDefinition,
        },
    },
};

use super::prices::{Price, price};
use crate::domain::{Error, Result};
use crate::graphql::{bounds, json::JSON};

/// Returns the fault of a value for a custom scalar, or `None` if the value is valid.
pub type ScalarCheck = fn(scalar: &str, value: &Value) -> Option<String>;

/// The types that every schema has (section 4.2), as the library answers them.
const INTROSPECTION: &str = r#"
type __Schema { description: String types: [__Type!]! queryType: __Type! mutationType: __Type subscriptionType: __Type directives: [__Directive!]! }
type __Type {
  kind: __TypeKind! name: String description: String fields(includeDeprecated: Boolean! = false): [__Field!] interfaces: [__Type!]
  possibleTypes: [__Type!] enumValues(includeDeprecated: Boolean! = false): [__EnumValue!]
  inputFields(includeDeprecated: Boolean! = false): [__InputValue!] ofType: __Type specifiedByURL: String isOneOf: Boolean
}
type __Field {
  name: String! description: String args(includeDeprecated: Boolean! = false): [__InputValue!]! type: __Type! isDeprecated: Boolean!
  deprecationReason: String
}
type __InputValue { name: String! description: String type: __Type! defaultValue: String isDeprecated: Boolean! deprecationReason: String }
type __EnumValue { name: String! description: String isDeprecated: Boolean! deprecationReason: String }
type __Directive {
  name: String! description: String locations: [__DirectiveLocation!]! args(includeDeprecated: Boolean! = false): [__InputValue!]!
  isRepeatable: Boolean!
}
enum __TypeKind { SCALAR OBJECT INTERFACE UNION ENUM INPUT_OBJECT LIST NON_NULL }
enum __DirectiveLocation {
  QUERY MUTATION SUBSCRIPTION FIELD FRAGMENT_DEFINITION FRAGMENT_SPREAD INLINE_FRAGMENT VARIABLE_DEFINITION SCHEMA SCALAR OBJECT
  FIELD_DEFINITION ARGUMENT_DEFINITION INTERFACE UNION ENUM ENUM_VALUE INPUT_OBJECT INPUT_FIELD_DEFINITION
}
type __Roots { __schema: __Schema! __type(name: String!): __Type __typename: String! }
"#;

/// The type above that holds the fields that belong to no type.
const META: &str = "__Roots";

/// The scalars of the specification.
const BUILT_IN_SCALARS: [&str; 5] = ["Int", "Float", "String", "Boolean", "ID"];

/// The tables of one schema.
pub struct Catalogue {
    types: HashMap<Name, TypeInfo>,
    directives: HashMap<Name, DirectiveInfo>,
    roots: [Option<Name>; 3],
    check: ScalarCheck,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").field("types", &self.types.len()).finish_non_exhaustive()
    }
}

/// A type of the schema.
#[derive(Debug)]
pub(super) struct TypeInfo {
    pub(super) name: Name,
    pub(super) kind: InfoKind,
    /// The object types that a value of an object, an interface or a union may have.
    pub(super) possible: Vec<Name>,
}

/// The kind of a type, and the members of the type.
#[derive(Debug)]
pub(super) enum InfoKind {
    Scalar,
    Enum(HashSet<Name>),
    Input { fields: Vec<InputInfo>, one_of: bool },
    Object(HashMap<Name, FieldInfo>),
    Interface(HashMap<Name, FieldInfo>),
    Union,
}

/// A field of an object or of an interface.
#[derive(Debug)]
pub(super) struct FieldInfo {
    pub(super) ty: Type,
    pub(super) arguments: Vec<InputInfo>,
    pub(super) price: Price,
}

/// An argument, or a field of an input.
#[derive(Debug)]
pub(super) struct InputInfo {
    pub(super) name: Name,
    pub(super) ty: Type,
    pub(super) has_default: bool,
    /// The most values, if it takes a list.
    pub(super) bound: Option<usize>,
}

impl InputInfo {
    /// Returns whether a value has to be given.
    pub(super) fn is_required(&self) -> bool {
        !self.ty.nullable && !self.has_default
    }
}

/// A directive.
#[derive(Debug)]
pub(super) struct DirectiveInfo {
    pub(super) arguments: Vec<InputInfo>,
    /// The names of the locations where it may stand.
    pub(super) locations: Vec<&'static str>,
    pub(super) repeatable: bool,
}

impl TypeInfo {
    pub(super) fn is_input(&self) -> bool {
        matches!(self.kind, InfoKind::Scalar | InfoKind::Enum(_) | InfoKind::Input { .. })
    }

    pub(super) fn is_composite(&self) -> bool {
        matches!(self.kind, InfoKind::Object(_) | InfoKind::Interface(_) | InfoKind::Union)
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.kind, InfoKind::Object(_))
    }

    pub(super) fn is_custom_scalar(&self) -> bool {
        matches!(self.kind, InfoKind::Scalar) && !BUILT_IN_SCALARS.contains(&self.name.as_str())
    }

    /// Returns whether its values are kept as their texts.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.kind, InfoKind::Scalar) && self.name == JSON
    }

    /// Returns whether it is a page of a list, whose items are its `nodes` and `edges`.
    pub(super) fn is_connection(&self) -> bool {
        matches!(&self.kind, InfoKind::Object(fields) if fields.contains_key("pageInfo"))
    }

    /// Returns whether an object can be of both types.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.possible.iter().any(|name| other.possible.contains(name))
    }
}

impl Catalogue {
    /// Reads the tables from the text of a schema. `check` returns the fault of a value for a custom scalar.
    pub fn read(sdl: &str, check: ScalarCheck) -> Result<Self> {
        let fault = |error| Error::fault("reading the exported schema", error);
        let definitions = parse_schema(sdl).map_err(fault)?.definitions;
        let introspection = parse_schema(INTROSPECTION).map_err(fault)?.definitions;
        let mut catalogue = Self {
            types: BUILT_IN_SCALARS.iter().map(|name| (Name::new(name), scalar(name))).collect(),
            directives: specified_directives(),
            roots: [None, None, None],
            check,
        };
        let mut members: HashMap<Name, Vec<Name>> = HashMap::new();
        for definition in definitions.into_iter().chain(introspection) {
            match definition {
                TypeSystemDefinition::Type(definition) => {
                    let name = definition.node.name.node.clone();
                    let kind = kind_of(definition.node, &mut members);
                    catalogue.types.insert(name.clone(), TypeInfo { name, kind, possible: Vec::new() });
                }
                TypeSystemDefinition::Schema(schema) => {
                    let roots = [schema.node.query, schema.node.mutation, schema.node.subscription];
                    catalogue.roots = roots.map(|root| root.map(|name| name.node));
                }
                TypeSystemDefinition::Directive(_) => {}
            }
        }
        for (name, possible) in members {
            if let Some(info) = catalogue.types.get_mut(&name) {
                info.possible = possible;
            }
        }
        Ok(catalogue)
    }

    /// Makes the tables of an empty schema.
    pub fn empty() -> Self {
        Self { types: HashMap::new(), directives: HashMap::new(), roots: [None, None, None], check: |_, _| None }
    }

    pub(super) fn get(&self, name: &str) -> Option<&TypeInfo> {
        self.types.get(name).filter(|info| info.name != META)
    }

    /// Returns the named type inside lists and non-null marks.
    pub(super) fn base(&self, ty: &Type) -> Option<&TypeInfo> {
        self.get(base_name(ty))
    }

    pub(super) fn directive(&self, name: &str) -> Option<&DirectiveInfo> {
        self.directives.get(name)
    }

    pub(super) fn root(&self, operation: OperationType) -> Option<&TypeInfo> {
        let at = match operation {
            OperationType::Query => 0,
            OperationType::Mutation => 1,
            OperationType::Subscription => 2,
        };
        self.get(self.roots[at].as_ref()?)
    }

    /// Returns a field that can be selected on a type, including `__typename` and the roots of introspection.
    pub(super) fn field<'c>(&'c self, on: &'c TypeInfo, name: &str) -> Option<&'c FieldInfo> {
        let meta = |name| match &self.types.get(META)?.kind {
            InfoKind::Object(fields) => fields.get(name),
            _ => None,
        };
        match name {
            "__typename" if on.is_composite() => meta("__typename"),
            "__schema" | "__type" if self.roots[0].as_ref() == Some(&on.name) => meta(name),
            _ => match &on.kind {
                InfoKind::Object(fields) | InfoKind::Interface(fields) => fields.get(name),
                _ => None,
            },
        }
    }

    /// Returns the fault of a value for a custom scalar, or `None` if the value is valid.
    pub(super) fn objection(&self, scalar: &TypeInfo, value: &Value) -> Option<String> {
        (self.check)(&scalar.name, value)
    }
}

/// Reads the kind of a type. `members` collects the object types of each object, interface and union.
fn kind_of(definition: TypeDefinition, members: &mut HashMap<Name, Vec<Name>>) -> InfoKind {
    let name = definition.name.node;
    match definition.kind {
        TypeKind::Scalar => InfoKind::Scalar,
        TypeKind::Enum(words) => InfoKind::Enum(words.values.into_iter().map(|word| word.node.value.node).collect()),
        TypeKind::InputObject(input) => {
            let one_of = definition.directives.iter().any(|it| it.node.name.node == "oneOf");
            let place = |field: &Name| format!("{name}.{field}");
            InfoKind::Input { fields: inputs(input.fields.into_iter().map(|field| field.node), place), one_of }
        }
        TypeKind::Object(object) => {
            for sort in object.implements.into_iter().map(|interface| interface.node).chain([name.clone()]) {
                members.entry(sort).or_default().push(name.clone());
            }
            InfoKind::Object(fields(&name, object.fields.into_iter().map(|it| it.node)))
        }
        TypeKind::Interface(it) => InfoKind::Interface(fields(&name, it.fields.into_iter().map(|it| it.node))),
        TypeKind::Union(union) => {
            members.entry(name).or_default().extend(union.members.into_iter().map(|member| member.node));
            InfoKind::Union
        }
    }
}

/// Returns the name inside lists and non-null marks.
pub(super) fn base_name(ty: &Type) -> &Name {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(of) => base_name(of),
    }
}

fn scalar(name: &str) -> TypeInfo {
    TypeInfo { name: Name::new(name), kind: InfoKind::Scalar, possible: Vec::new() }
}

fn fields(of: &Name, definitions: impl Iterator<Item = FieldDefinition>) -> HashMap<Name, FieldInfo> {
    let info = |field: FieldDefinition| {
        let name = field.name.node;
        let place = |argument: &Name| format!("{of}.{name}({argument})");
        let arguments = inputs(field.arguments.into_iter().map(|argument| argument.node), place);
        let price = price(of, &name);
        (name, FieldInfo { ty: field.ty.node, arguments, price })
    };
    definitions.map(info).collect()
}

fn inputs(definitions: impl Iterator<Item = InputValueDefinition>, place: impl Fn(&Name) -> String) -> Vec<InputInfo> {
    let info = |input: InputValueDefinition| InputInfo {
        bound: bounds::of_list(&place(&input.name.node)),
        name: input.name.node,
        ty: input.ty.node,
        has_default: input.default_value.is_some(),
    };
    definitions.map(info).collect()
}

/// The directives of the specification that an executable document may use. The desk defines no other directives.
fn specified_directives() -> HashMap<Name, DirectiveInfo> {
    let condition = || InputInfo {
        name: Name::new("if"),
        ty: Type { base: BaseType::Named(Name::new("Boolean")), nullable: false },
        has_default: false,
        bound: None,
    };
    let selections = vec!["FIELD", "FRAGMENT_SPREAD", "INLINE_FRAGMENT"];
    let on_schema = |argument: &str, nullable, has_default| {
        let ty = Type { base: BaseType::Named(Name::new("String")), nullable };
        DirectiveInfo {
            arguments: vec![InputInfo { name: Name::new(argument), ty, has_default, bound: None }],
            locations: Vec::new(),
            repeatable: false,
        }
    };
    let one_of = DirectiveInfo { arguments: Vec::new(), locations: Vec::new(), repeatable: false };
    let directive = |locations| DirectiveInfo { arguments: vec![condition()], locations, repeatable: false };
    HashMap::from([
        (Name::new("skip"), directive(selections.clone())),
        (Name::new("include"), directive(selections)),
        (Name::new("deprecated"), on_schema("reason", false, true)),
        (Name::new("specifiedBy"), on_schema("url", false, false)),
        (Name::new("oneOf"), one_of),
    ])
}
