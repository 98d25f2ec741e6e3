//! The canonical operation: a document and its variables in the one form that all later steps read.
//!
//! Fragments are written out. Fields of one name in the answer are one field. `@skip` and `@include` are decided.
//! Arguments and input fields whose variable has no value are left out (sections 6.3.2 and 6.4.1 of the specification).
//! The fields of an abstract type are listed for each group of its possible types, in the order of the specification.
//! Variables stay variables, so that a large value is not copied. Each node keeps its place in the client's text.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_graphql::{
    Name, Pos, ServerError, Value,
    parser::types::{BaseType, Type},
};
use async_graphql_value::{Value as Input, indexmap::IndexMap};

use super::ast::{self, Directive, Document, Fragment, Literal, OperationNode, number};
use super::catalogue::{Catalogue, InfoKind, InputInfo, TypeInfo};
use super::limits::within;
use super::sketch::{Sketch, Sketches};
use crate::graphql::json::exact;

/// The selection on an object, an interface or a union.
#[derive(Debug)]
pub(crate) struct Selection {
    /// The possible types in groups with equal fields; a single group for an object.
    pub(super) groups: Vec<TypeGroup>,
    /// Whether the answer has to name the type of the object, or to show that an object without selected fields exists.
    pub(super) is_tagged: bool,
    /// The number of fields here and below, with fragments written out.
    fields: usize,
}

/// Possible types with equal fields.
#[derive(Debug)]
pub(super) struct TypeGroup {
    pub(super) types: Vec<Name>,
    pub(super) fields: Vec<Field>,
}

/// A field of the answer.
#[derive(Debug)]
pub(super) struct Field {
    /// The name in the answer.
    pub(super) key: Name,
    /// The name in the schema.
    pub(super) name: Name,
    pub(super) ty: Type,
    /// Arguments that have a value, in the order of the schema.
    pub(super) arguments: Vec<(Name, Pos, Input)>,
    /// The place where the client first selects it.
    pub(super) pos: Pos,
    /// What is selected of its value; `None` for a leaf.
    pub(super) selection: Option<Arc<Selection>>,
    /// The cost of the field itself, on the most expensive type of its group.
    pub(super) own_cost: usize,
    /// How often its selection is in the answer.
    pub(super) rows: RowCount,
    /// Whether every group of the selection around it selects it equally, so that the abstract type can select it.
    pub(super) is_common: bool,
}

/// How often the selection of a field is in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowCount {
    /// Once.
    One,
    /// For each item of a list; this is the assumed length if no argument gives one.
    List(usize),
    /// Once. Its `nodes` and `edges` are as many as its arguments say.
    Page,
    /// For each item of the page that it belongs to.
    Items,
}

impl Field {
    /// Returns the value of an argument, if it has one.
    pub(super) fn argument(&self, name: &str) -> Option<&Input> {
        self.arguments.iter().find(|(given, ..)| given == name).map(|(.., value)| value)
    }
}

/// The part of the variables on which the form of an operation depends.
pub(super) struct Circumstances<'v> {
    /// The variables that have a value.
    pub(super) variables: &'v Sketches,
}

impl Circumstances<'_> {
    /// Returns whether a selection with these directives is included.
    fn includes(&self, directives: &[Directive]) -> bool {
        directives.iter().all(|directive| {
            let condition = directive.arguments.iter().find(|argument| argument.name == "if");
            let holds = condition.is_some_and(|argument| match &argument.value.node {
                Literal::Boolean(value) => *value,
                Literal::Variable(name) => self.variables.get(name).and_then(Sketch::boolean) == Some(true),
                _ => false,
            });
            match directive.name.as_str() {
                "skip" => !holds,
                "include" => holds,
                _ => true,
            }
        })
    }

    fn has(&self, variable: &Name) -> bool {
        self.variables.get(variable).is_some()
    }
}

/// Makes the selection of an operation's root. The document has to be valid.
pub(super) fn root(
    document: &Document,
    catalogue: &Catalogue,
    operation: &OperationNode,
    circumstances: &Circumstances<'_>,
    fields_max: usize,
) -> Result<Arc<Selection>, ServerError> {
    let fragments = document.fragments.iter().map(|fragment| (&fragment.name, fragment)).collect();
    let mut builder = Builder { catalogue, fragments, circumstances, made: HashMap::new(), fields_max };
    match catalogue.root(operation.ty) {
        Some(root) => builder.selection(root, &[&operation.selections]),
        None => Err(ServerError::new(format!("there is no {}", operation.ty), Some(operation.pos))),
    }
}

/// The identity of a selection: its type and its sets.
type Identity = (*const TypeInfo, Vec<*const ast::SelectionNode>);

/// Fields by their name in the answer, in the order of the answer.
type Collected<'d> = IndexMap<&'d Name, Vec<&'d ast::FieldNode>>;

struct Builder<'d, 'v> {
    catalogue: &'d Catalogue,
    fragments: HashMap<&'d Name, &'d Fragment>,
    circumstances: &'v Circumstances<'v>,
    /// Selections that are already made: fields of an interface are equal in each of its groups.
    made: HashMap<Identity, Arc<Selection>>,
    fields_max: usize,
}

impl<'d> Builder<'d, '_> {
    fn selection(
        &mut self,
        on: &'d TypeInfo,
        sets: &[&'d [ast::SelectionNode]],
    ) -> Result<Arc<Selection>, ServerError> {
        let identity = (std::ptr::from_ref(on), sets.iter().map(|set| set.as_ptr()).collect());
        if let Some(made) = self.made.get(&identity) {
            return Ok(made.clone());
        }
        let collected = self.groups(on, sets);
        let is_one = collected.len() == 1;
        let common: HashSet<&Name> = if is_one {
            HashSet::new()
        } else {
            let everywhere = |key: &&Name, fields: &Vec<&ast::FieldNode>| {
                self.catalogue.field(on, &fields[0].name).is_some()
                    && collected.iter().all(|(_, other)| other.get(*key).is_some_and(|it| same_nodes(it, fields)))
            };
            let first = collected.first().map(|(_, fields)| fields);
            let all = first.into_iter().flatten().filter(|(key, fields)| everywhere(key, fields));
            all.map(|(key, _)| *key).collect()
        };
        let mut groups = Vec::with_capacity(collected.len());
        let mut count = 0_usize;
        for (types, collected) in collected {
            let mut fields = Vec::with_capacity(collected.len());
            for (key, nodes) in collected {
                let field = self.field(&types, &nodes, common.contains(key))?;
                let below = field.selection.as_ref().map_or(0, |selection| selection.fields);
                count = count.saturating_add(1).saturating_add(below);
                fields.push(field);
            }
            groups.push(TypeGroup { types: types.iter().map(|ty| ty.name.clone()).collect(), fields });
        }
        within("fields in its canonical form", count, self.fields_max)?;
        let is_tagged = !is_one || groups.iter().any(|group| group.fields.is_empty());
        let selection = Arc::new(Selection { groups, is_tagged, fields: count });
        self.made.insert(identity, selection.clone());
        Ok(selection)
    }

    /// Collects the fields of each group of possible types that differ.
    fn groups(&self, on: &'d TypeInfo, sets: &[&'d [ast::SelectionNode]]) -> Vec<(Vec<&'d TypeInfo>, Collected<'d>)> {
        let possible: Vec<&TypeInfo> = on.possible.iter().filter_map(|name| self.catalogue.get(name)).collect();
        let mut conditions = HashSet::new();
        sets.iter().for_each(|set| self.conditions(set, &mut conditions, &mut HashSet::new()));
        let mut groups: Vec<(Vec<bool>, Vec<&'d TypeInfo>)> = Vec::new();
        for ty in possible {
            let met: Vec<bool> = conditions.iter().map(|condition| condition.possible.contains(&ty.name)).collect();
            match groups.iter_mut().find(|(known, _)| *known == met) {
                Some((_, types)) => types.push(ty),
                None => groups.push((met, vec![ty])),
            }
        }
        let mut merged: Vec<(Vec<&'d TypeInfo>, Collected<'d>)> = Vec::new();
        for (_, types) in groups {
            let mut collected = Collected::new();
            let mut spread = HashSet::new();
            sets.iter().for_each(|set| self.collect(types[0], set, &mut collected, &mut spread));
            // Types that meet different conditions may still have equal fields.
            match merged.iter_mut().find(|(_, known)| same_fields(known, &collected)) {
                Some((known, _)) => known.extend(types),
                None => merged.push((types, collected)),
            }
        }
        merged
    }

    /// Collects the types to which fragments at this level apply.
    fn conditions(&self, set: &'d [ast::SelectionNode], found: &mut Conditions<'d>, spread: &mut HashSet<&'d Name>) {
        for selection in set {
            let (on, inner) = match selection {
                ast::SelectionNode::Field(_) => continue,
                ast::SelectionNode::Inline(inline) => (inline.on.as_ref(), &inline.selections),
                ast::SelectionNode::Spread(it) => {
                    match self.fragments.get(&it.name).filter(|_| spread.insert(&it.name)) {
                        Some(fragment) => (Some(&fragment.on), &fragment.selections),
                        None => continue,
                    }
                }
            };
            if let Some(on) = on.and_then(|on| self.catalogue.get(on)) {
                found.insert(ByName(on));
            }
            self.conditions(inner, found, spread);
        }
    }

    /// CollectFields of the specification, for objects of one type.
    fn collect(
        &self,
        ty: &TypeInfo,
        set: &'d [ast::SelectionNode],
        collected: &mut Collected<'d>,
        spread: &mut HashSet<&'d Name>,
    ) {
        for selection in set {
            if !self.circumstances.includes(selection.directives()) {
                continue;
            }
            let (on, inner) = match selection {
                ast::SelectionNode::Field(field) => {
                    collected.entry(field.key()).or_default().push(field);
                    continue;
                }
                ast::SelectionNode::Inline(inline) => (inline.on.as_ref(), &inline.selections),
                ast::SelectionNode::Spread(it) => {
                    match self.fragments.get(&it.name).filter(|_| spread.insert(&it.name)) {
                        Some(fragment) => (Some(&fragment.on), &fragment.selections),
                        None => continue,
                    }
                }
            };
            let applies = on.is_none_or(|on| self.catalogue.get(on).is_some_and(|on| on.possible.contains(&ty.name)));
            if applies {
                self.collect(ty, inner, collected, spread);
            }
        }
    }

    /// Makes a field that is selected on objects of one group.
    fn field(
        &mut self,
        types: &[&TypeInfo],
        nodes: &[&'d ast::FieldNode],
        is_common: bool,
    ) -> Result<Field, ServerError> {
        let (first, on) = (nodes[0], types[0]);
        let Some(info) = self.catalogue.field(on, &first.name) else {
            let message = format!("the type {} has no field {}", on.name, first.name);
            return Err(ServerError::new(message, Some(first.pos)));
        };
        let base = self.catalogue.base(&info.ty);
        let others = types[1..].iter().filter_map(|on| Some(self.catalogue.field(on, &first.name)?.price));
        let (own_cost, items) = others.fold((info.price.own, info.price.items), |(own, items), price| {
            (price.own.max(own), price.items.max(items))
        });
        let is_list = matches!(info.ty.base, BaseType::List(_));
        let rows = match base {
            _ if is_list && on.is_connection() && matches!(first.name.as_str(), "nodes" | "edges") => RowCount::Items,
            Some(ty) if !is_list && ty.is_connection() => RowCount::Page,
            _ if is_list || items.is_some() => RowCount::List(items.unwrap_or(1)),
            _ => RowCount::One,
        };
        let selection = match base.filter(|ty| ty.is_composite()) {
            Some(ty) => {
                let sets: Vec<_> = nodes.iter().map(|node| &*node.selections).collect();
                Some(self.selection(ty, &sets)?)
            }
            None => None,
        };
        let has = |variable: &Name| self.circumstances.has(variable);
        let argument = |info: &InputInfo| {
            let given = first.arguments.iter().find(|argument| argument.name == info.name)?;
            Some((info.name.clone(), given.value.pos, input(self.catalogue, &has, Some(&info.ty), &given.value)?))
        };
        Ok(Field {
            key: first.key().clone(),
            name: first.name.clone(),
            ty: info.ty.clone(),
            arguments: info.arguments.iter().filter_map(argument).collect(),
            pos: first.pos,
            selection,
            own_cost,
            rows,
            is_common,
        })
    }
}

/// Returns a value in a document, at a place without variables, as a value of its type.
pub(super) fn constant(catalogue: &Catalogue, ty: &Type, value: &ast::Value) -> Value {
    let made = input(catalogue, &|_| false, Some(ty), value);
    made.and_then(Input::into_const).unwrap_or_default()
}

/// Returns a value in a document as a value of its type; `None` for a variable without a value.
fn input(catalogue: &Catalogue, has: &impl Fn(&Name) -> bool, ty: Option<&Type>, value: &ast::Value) -> Option<Input> {
    match (&value.node, ty.map(|ty| &ty.base)) {
        (Literal::Variable(name), _) => {
            return has(name).then(|| Input::Variable(name.clone()));
        }
        (Literal::Null, _) => return Some(Input::Null),
        (Literal::List(_), Some(BaseType::List(_))) => {}
        // A single value stands for a list of it.
        (_, Some(BaseType::List(of))) => {
            return Some(Input::List(vec![input(catalogue, has, Some(of), value).unwrap_or(Input::Null)]));
        }
        _ => {}
    }
    let named = match ty.map(|ty| &ty.base) {
        Some(BaseType::Named(name)) => catalogue.get(name),
        _ => None,
    };
    Some(match &value.node {
        Literal::Variable(_) | Literal::Null => Input::Null,
        Literal::Boolean(value) => Input::Boolean(*value),
        Literal::String(text) => Input::String(text.clone()),
        Literal::Enum(word) => Input::Enum(word.clone()),
        Literal::Int(digits) if named.is_some_and(|ty| ty.name == "ID") => Input::String(digits.clone()),
        Literal::Int(digits) | Literal::Float(digits) => match (number(digits), named) {
            (Some(number), Some(ty)) if !ty.is_json() => Input::Number(number),
            (Some(number), _) if number.to_string() == *digits => Input::Number(number),
            // Within JSON, digits that no number keeps stay digits. The grammars of both languages are equal here.
            (Some(_), _) => exact(digits.clone()).into(),
            (None, _) => Input::Null,
        },
        Literal::List(items) => {
            let of = match ty.map(|ty| &ty.base) {
                Some(BaseType::List(of)) => Some(&**of),
                _ => None,
            };
            Input::List(items.iter().map(|item| input(catalogue, has, of, item).unwrap_or(Input::Null)).collect())
        }
        Literal::Object(given) => {
            let fields = match named.map(|ty| &ty.kind) {
                Some(InfoKind::Input { fields, .. }) => fields,
                _ => {
                    let pair =
                        |(name, value): &(Name, ast::Value)| Some((name.clone(), input(catalogue, has, None, value)?));
                    return Some(Input::Object(given.iter().filter_map(pair).collect()));
                }
            };
            let field = |info: &InputInfo| {
                let (name, value) = given.iter().find(|(name, _)| *name == info.name)?;
                Some((name.clone(), input(catalogue, has, Some(&info.ty), value)?))
            };
            Input::Object(fields.iter().filter_map(field).collect())
        }
    })
}

/// Types that are compared by their name.
type Conditions<'d> = HashSet<ByName<'d>>;

#[derive(Clone, Copy)]
struct ByName<'d>(&'d TypeInfo);

impl std::ops::Deref for ByName<'_> {
    type Target = TypeInfo;

    fn deref(&self) -> &TypeInfo {
        self.0
    }
}

impl PartialEq for ByName<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName<'_> {}

impl std::hash::Hash for ByName<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

fn same_nodes(one: &[&ast::FieldNode], two: &[&ast::FieldNode]) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(one, two)| std::ptr::eq(*one, *two))
}

fn same_fields(one: &Collected<'_>, two: &Collected<'_>) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.0 == two.0 && same_nodes(one.1, two.1))
}

impl Selection {
    /// Returns the fields of an object, which has a single group.
    pub(super) fn fields_of_object(&self) -> &[Field] {
        self.groups.first().map_or(&[], |group| &group.fields)
    }

    /// Returns how many commands a mutation of this selection carries out.
    pub(super) fn commands(&self) -> usize {
        self.fields_of_object().iter().filter(|field| field.name.as_str() != "__typename").count()
    }

    /// Returns the number of fields here and below, with fragments written out.
    pub(super) fn size(&self) -> usize {
        self.fields
    }
}
