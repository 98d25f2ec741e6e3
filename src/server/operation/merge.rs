//! Checks that fields of one name in the answer can merge (section 5.3.2 of the specification): they must have one name
//! and equal arguments, and types of one shape even if they stand on different objects.
//!
//! Whole sets of fields are compared, and each set once for each rule. So the work stays in proportion to the document
//! with its fragments written out, whose size is bounded before.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, ServerError,
    parser::types::{BaseType, Type},
};

use super::ast::{Document, FieldNode, Fragment, Literal, OperationNode, SelectionNode, Value};
use super::catalogue::{Catalogue, TypeInfo};
use super::fault::fault;

/// Finds fields of one operation that contradict each other.
pub(super) fn operation(
    document: &Document,
    catalogue: &Catalogue,
    operation: &OperationNode,
    faults: &mut Vec<ServerError>,
) {
    let Some(root) = catalogue.root(operation.ty) else { return };
    let fragments = document.fragments.iter().map(|fragment| (&fragment.name, fragment)).collect();
    let mut merge = FieldMerge { catalogue, fragments, alike: HashSet::new(), same: HashSet::new(), faults };
    let fields = merge.expand(&[(root, &operation.selections)]);
    merge.look_alike(&fields);
    merge.are_the_same(&fields);
}

/// A field and the type that it is selected on.
#[derive(Clone, Copy)]
struct SelectedField<'d> {
    on: &'d TypeInfo,
    field: &'d FieldNode,
}

/// The identity of a set of fields.
type Set = Vec<(*const TypeInfo, *const FieldNode)>;

struct FieldMerge<'d, 'f> {
    catalogue: &'d Catalogue,
    fragments: HashMap<&'d Name, &'d Fragment>,
    alike: HashSet<Set>,
    same: HashSet<Set>,
    faults: &'f mut Vec<ServerError>,
}

fn identity(fields: &[SelectedField<'_>]) -> Set {
    fields.iter().map(|it| (std::ptr::from_ref(it.on), std::ptr::from_ref(it.field))).collect()
}

/// Groups the fields by their names in the answer, in order.
fn by_key<'d>(fields: &[SelectedField<'d>]) -> Vec<Vec<SelectedField<'d>>> {
    let mut places: HashMap<&Name, usize> = HashMap::new();
    let mut groups: Vec<Vec<SelectedField<'d>>> = Vec::new();
    for placed in fields {
        let at = *places.entry(placed.field.key()).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(*placed),
            None => groups.push(vec![*placed]),
        }
    }
    groups
}

impl<'d> FieldMerge<'d, '_> {
    /// Returns the fields of selection sets, with fragments written out.
    fn expand(&self, sets: &[(&'d TypeInfo, &'d [SelectionNode])]) -> Vec<SelectedField<'d>> {
        let mut fields = Vec::new();
        let mut spread = HashSet::new();
        let mut open: Vec<(&'d TypeInfo, &'d [SelectionNode])> = sets.iter().rev().copied().collect();
        while let Some((on, set)) = open.pop() {
            for selection in set {
                match selection {
                    SelectionNode::Field(field) => fields.push(SelectedField { on, field }),
                    SelectionNode::Inline(inline) => {
                        let inner = inline.on.as_ref().and_then(|name| self.catalogue.get(name)).unwrap_or(on);
                        open.push((inner, &inline.selections));
                    }
                    SelectionNode::Spread(it) => {
                        let fragment = self.fragments.get(&it.name).filter(|_| spread.insert(&it.name));
                        let inner = fragment.and_then(|it| Some((self.catalogue.get(&it.on)?, &*it.selections)));
                        open.extend(inner);
                    }
                }
            }
        }
        fields
    }

    /// Returns the fields that are selected below a group of fields.
    fn below(&self, group: &[SelectedField<'d>]) -> Vec<SelectedField<'d>> {
        let sets: Vec<_> = group
            .iter()
            .filter(|placed| !placed.field.selections.is_empty())
            .filter_map(|placed| Some((self.catalogue.base(self.ty(*placed)?)?, &*placed.field.selections)))
            .collect();
        if sets.is_empty() { Vec::new() } else { self.expand(&sets) }
    }

    fn ty(&self, placed: SelectedField<'d>) -> Option<&'d Type> {
        self.catalogue.field(placed.on, &placed.field.name).map(|info| &info.ty)
    }

    /// SameResponseShape, for fields on any objects.
    fn look_alike(&mut self, fields: &[SelectedField<'d>]) {
        if !self.alike.insert(identity(fields)) {
            return;
        }
        for group in by_key(fields) {
            let first = group[0];
            for other in &group[1..] {
                if let (Some(one), Some(two)) = (self.ty(first), self.ty(*other))
                    && !self.same_shape(one, two)
                {
                    let key = first.field.key();
                    self.faults.push(fault(
                        format!("{key} would be of {one} and of {two} in one answer; give one of them another name"),
                        other.field.pos,
                    ));
                }
            }
            let below = self.below(&group);
            if !below.is_empty() {
                self.look_alike(&below);
            }
        }
    }

    fn same_shape(&self, one: &Type, two: &Type) -> bool {
        if one.nullable != two.nullable {
            return false;
        }
        match (&one.base, &two.base) {
            (BaseType::List(one), BaseType::List(two)) => self.same_shape(one, two),
            (BaseType::Named(one), BaseType::Named(two)) => {
                let composite = |name| self.catalogue.get(name).is_some_and(TypeInfo::is_composite);
                one == two || (composite(one) && composite(two))
            }
            _ => false,
        }
    }

    /// The rest of FieldsInSetCanMerge: fields that one object may have must have one name and equal arguments.
    fn are_the_same(&mut self, fields: &[SelectedField<'d>]) {
        if !self.same.insert(identity(fields)) {
            return;
        }
        for group in by_key(fields) {
            for group in by_object(&group) {
                let first = group[0];
                for other in &group[1..] {
                    if let Some(message) = difference(first.field, other.field) {
                        self.faults.push(fault(message, other.field.pos));
                    }
                }
                let below = self.below(&group);
                if !below.is_empty() {
                    self.are_the_same(&below);
                }
            }
        }
    }
}

/// Groups the fields of one name by the object that may have them: each object type, with the fields on interfaces.
fn by_object<'d>(group: &[SelectedField<'d>]) -> Vec<Vec<SelectedField<'d>>> {
    let anywhere = |placed: &&SelectedField<'d>| !placed.on.is_object();
    let mut objects: Vec<&Name> = Vec::new();
    for placed in group.iter().filter(|placed| placed.on.is_object()) {
        if !objects.contains(&&placed.on.name) {
            objects.push(&placed.on.name);
        }
    }
    if objects.is_empty() {
        return vec![group.to_vec()];
    }
    let of = |name: &Name| {
        let here = |placed: &&SelectedField<'d>| anywhere(placed) || placed.on.name == *name;
        group.iter().filter(here).copied().collect()
    };
    objects.into_iter().map(of).collect()
}

fn difference(one: &FieldNode, two: &FieldNode) -> Option<String> {
    let key = one.key();
    if one.name != two.name {
        return Some(format!("{key} would be {} and {}; give one of them another name", one.name, two.name));
    }
    let same = one.arguments.len() == two.arguments.len()
        && one.arguments.iter().all(|argument| {
            let other = two.arguments.iter().find(|other| other.name == argument.name);
            other.is_some_and(|other| same_value(&argument.value, &other.value))
        });
    (!same).then(|| format!("{key} is asked for with different arguments; give one of them another name"))
}

fn same_value(one: &Value, two: &Value) -> bool {
    match (&one.node, &two.node) {
        (Literal::Null, Literal::Null) => true,
        (Literal::Variable(one), Literal::Variable(two)) | (Literal::Enum(one), Literal::Enum(two)) => one == two,
        (Literal::Int(one), Literal::Int(two))
        | (Literal::Float(one), Literal::Float(two))
        | (Literal::String(one), Literal::String(two)) => one == two,
        (Literal::Boolean(one), Literal::Boolean(two)) => one == two,
        (Literal::List(one), Literal::List(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same_value(one, two))
        }
        (Literal::Object(one), Literal::Object(two)) => {
            let same = |(name, value): &(Name, Value)| {
                two.iter().find(|(other, _)| other == name).is_some_and(|(_, other)| same_value(value, other))
            };
            one.len() == two.len() && one.iter().all(same)
        }
        _ => false,
    }
}
