//! Decides whether a document may be executed, by the rules of section 5 of the specification (September 2025).
//!
//! Each operation and each fragment is walked once, with the types known. The rules for variables and for unused
//! fragments depend on the operations that spread a fragment. They are checked afterwards, from the notes of the walk.
//! Rules for values are in `literal.rs`, the rule for fields of one name is in `merge.rs`.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Pos, ServerError,
    parser::types::{BaseType, OperationType, Type},
};

use super::ast::{Argument, Directive, Document, FieldNode, Fragment, Literal, OperationNode, SelectionNode, Variable};
use super::catalogue::{Catalogue, InputInfo, TypeInfo};
use super::fault::{fault, fault_at, too_long};
use super::{literal, merge};

/// The most faults of a document that a refusal lists; a client repairs them from the first on.
const FAULTS_TOLD: usize = 20;

/// For each variable of an operation, the most values if it is a list: the smallest bound of the places that use it.
pub(super) type ListBounds = Vec<Option<usize>>;

/// Validates a document. Returns the list bounds of each operation, or the faults up to a maximum number.
pub(super) fn validate(document: &Document, catalogue: &Catalogue) -> Result<Vec<ListBounds>, Vec<ServerError>> {
    let fragments = document.fragments.iter().map(|fragment| (&fragment.name, fragment)).collect();
    let mut walk = DocumentWalk { catalogue, document, fragments, faults: Vec::new(), notes: Notes::default() };
    let bounds = walk.definitions();
    if walk.faults.is_empty() {
        for operation in &document.operations {
            merge::operation(document, catalogue, operation, &mut walk.faults);
        }
    }
    if walk.faults.is_empty() {
        return Ok(bounds);
    }
    walk.faults.truncate(FAULTS_TOLD);
    Err(walk.faults)
}

/// A place where a variable is used.
pub(super) struct VariableUse<'d> {
    pub(super) name: &'d Name,
    pub(super) pos: Pos,
    /// The type of the place; `None` inside a custom scalar, which takes any value.
    pub(super) expected: Option<&'d Type>,
    /// Whether the place has a default for a variable without a value.
    pub(super) has_default: bool,
    /// Whether it is the field of an input that takes exactly one field.
    pub(super) in_one_of: bool,
    /// The most values of a list at this place.
    pub(super) bound: Option<usize>,
    /// The path of the argument or the input field.
    pub(super) path: String,
}

/// The uses and spreads of one operation or fragment, without those of the fragments that it spreads.
#[derive(Default)]
pub(super) struct Notes<'d> {
    pub(super) uses: Vec<VariableUse<'d>>,
    spreads: Vec<&'d Name>,
}

pub(super) struct DocumentWalk<'d> {
    pub(super) catalogue: &'d Catalogue,
    document: &'d Document,
    fragments: HashMap<&'d Name, &'d Fragment>,
    pub(super) faults: Vec<ServerError>,
    pub(super) notes: Notes<'d>,
}

impl<'d> DocumentWalk<'d> {
    fn definitions(&mut self) -> Vec<ListBounds> {
        let document = self.document;
        let mut seen = HashSet::new();
        for fragment in &document.fragments {
            if !seen.insert(&fragment.name) {
                self.faults.push(fault(format!("there are several fragments {}", fragment.name), fragment.pos));
            }
        }
        let mut notes = HashMap::new();
        for fragment in &document.fragments {
            self.fragment(fragment);
            notes.insert(&fragment.name, std::mem::take(&mut self.notes));
        }
        self.operation_names();
        let mut reached = HashSet::new();
        let mut bounds = Vec::with_capacity(document.operations.len());
        for operation in &document.operations {
            self.operation(operation);
            let own = std::mem::take(&mut self.notes);
            let mut used = HashMap::new();
            let mut open: Vec<&Notes<'d>> = vec![&own];
            let mut spread = HashSet::new();
            while let Some(noted) = open.pop() {
                noted.uses.iter().for_each(|place| self.variable_use(operation, place, &mut used));
                let fresh = noted.spreads.iter().filter(|name| spread.insert(**name));
                open.extend(fresh.filter_map(|name| notes.get(name)));
            }
            bounds.push(operation.variables.iter().map(|variable| self.list_bound(variable, &used)).collect());
            reached.extend(spread);
        }
        for fragment in document.fragments.iter().filter(|fragment| !reached.contains(&fragment.name)) {
            self.faults.push(fault(format!("the fragment {} is not used", fragment.name), fragment.pos));
        }
        bounds
    }

    /// Returns the bound of the places that use a variable. Refuses a default that is longer.
    fn list_bound(&mut self, variable: &'d Variable, used: &HashMap<&'d Name, Option<usize>>) -> Option<usize> {
        let Some(bound) = used.get(&variable.name) else {
            self.faults.push(fault(format!("the variable ${} is not used", variable.name), variable.pos));
            return None;
        };
        if let (Some(Literal::List(items)), Some(bound)) = (variable.default.as_ref().map(|it| &it.node), *bound)
            && items.len() > bound
        {
            let path = format!("variables.{}", variable.name);
            self.faults.push(too_long(&path, items.len(), bound, variable.pos));
        }
        *bound
    }

    fn operation_names(&mut self) {
        let document = self.document;
        let mut seen = HashSet::new();
        for operation in &document.operations {
            match &operation.name {
                Some(name) if !seen.insert(name) => {
                    self.faults.push(fault(format!("there are several operations {name}"), operation.pos));
                }
                None if document.operations.len() > 1 => {
                    let message = "an operation without a name is the only one of its document";
                    self.faults.push(fault(message, operation.pos));
                }
                _ => {}
            }
        }
    }

    fn fragment(&mut self, fragment: &'d Fragment) {
        self.directives(&fragment.directives, "FRAGMENT_DEFINITION");
        let on = self.condition(&fragment.on, fragment.pos);
        self.selections(on, &fragment.selections);
    }

    /// Returns the type to which a fragment applies.
    fn condition(&mut self, name: &Name, pos: Pos) -> Option<&'d TypeInfo> {
        match self.catalogue.get(name) {
            Some(on) if on.is_composite() => return Some(on),
            Some(_) => self.faults.push(fault(format!("a fragment is not made for {name}, which has no fields"), pos)),
            None => self.faults.push(fault(format!("there is no type {name}"), pos)),
        }
        None
    }

    fn operation(&mut self, operation: &'d OperationNode) {
        let location = match operation.ty {
            OperationType::Query => "QUERY",
            OperationType::Mutation => "MUTATION",
            OperationType::Subscription => "SUBSCRIPTION",
        };
        self.directives(&operation.directives, location);
        let mut seen = HashSet::new();
        for variable in &operation.variables {
            if !seen.insert(&variable.name) {
                self.faults.push(fault(format!("there are several variables ${}", variable.name), variable.pos));
            }
            self.directives(&variable.directives, "VARIABLE_DEFINITION");
            match self.catalogue.base(&variable.ty) {
                Some(ty) if ty.is_input() => {
                    if let Some(default) = &variable.default {
                        literal::check(self, &variable.ty, default, format!("variables.{}", variable.name));
                    }
                }
                Some(_) => {
                    let message = format!("the variable ${} is of {}, which is no input", variable.name, variable.ty);
                    self.faults.push(fault(message, variable.pos));
                }
                None => {
                    let message = format!("there is no type {} for the variable ${}", variable.ty, variable.name);
                    self.faults.push(fault(message, variable.pos));
                }
            }
        }
        let Some(root) = self.catalogue.root(operation.ty) else {
            self.faults.push(fault(format!("there is no {}", operation.ty), operation.pos));
            return;
        };
        self.selections(Some(root), &operation.selections);
        if operation.ty == OperationType::Subscription {
            self.single_root(operation);
        }
    }

    /// Checks that a subscription has one root field, which no directive can skip.
    fn single_root(&mut self, operation: &'d OperationNode) {
        let mut keys: Vec<&Name> = Vec::new();
        let mut spread = HashSet::new();
        let mut open: Vec<&[SelectionNode]> = vec![&operation.selections];
        while let Some(set) = open.pop() {
            for selection in set {
                let condition = |it: &&Directive| matches!(it.name.as_str(), "skip" | "include");
                if let Some(directive) = selection.directives().iter().find(condition) {
                    let message = format!("a subscription's root field takes no @{}", directive.name);
                    self.faults.push(fault(message, directive.pos));
                }
                match selection {
                    SelectionNode::Field(field) => {
                        if field.name.starts_with("__") {
                            let message = "a subscription selects a root field of its own, not of introspection";
                            self.faults.push(fault(message, field.pos));
                        }
                        if !keys.contains(&field.key()) {
                            keys.push(field.key());
                        }
                    }
                    SelectionNode::Inline(inline) => open.push(&inline.selections),
                    SelectionNode::Spread(it) => {
                        let fragment = self.fragments.get(&it.name).filter(|_| spread.insert(&it.name));
                        open.extend(fragment.map(|fragment| &*fragment.selections));
                    }
                }
            }
        }
        if keys.len() > 1 {
            self.faults.push(fault("a subscription selects one root field, not several", operation.pos));
        }
    }

    fn selections(&mut self, on: Option<&'d TypeInfo>, set: &'d [SelectionNode]) {
        for selection in set {
            match selection {
                SelectionNode::Field(field) => {
                    self.directives(&field.directives, "FIELD");
                    self.field(on, field);
                }
                SelectionNode::Inline(inline) => {
                    self.directives(&inline.directives, "INLINE_FRAGMENT");
                    let inner = match &inline.on {
                        Some(name) => {
                            let inner = self.condition(name, inline.pos);
                            self.may_apply(on, inner, inline.pos);
                            inner
                        }
                        None => on,
                    };
                    self.selections(inner, &inline.selections);
                }
                SelectionNode::Spread(spread) => {
                    self.directives(&spread.directives, "FRAGMENT_SPREAD");
                    self.notes.spreads.push(&spread.name);
                    match self.fragments.get(&spread.name) {
                        Some(fragment) => {
                            let inner = self.catalogue.get(&fragment.on).filter(|inner| inner.is_composite());
                            self.may_apply(on, inner, spread.pos);
                        }
                        None => self.faults.push(fault(format!("there is no fragment {}", spread.name), spread.pos)),
                    }
                }
            }
        }
    }

    fn may_apply(&mut self, on: Option<&TypeInfo>, inner: Option<&TypeInfo>, pos: Pos) {
        if let (Some(on), Some(inner)) = (on, inner)
            && !on.overlaps(inner)
        {
            let message = format!("a fragment on {} cannot be spread on {}: nothing is both", inner.name, on.name);
            self.faults.push(fault(message, pos));
        }
    }

    fn field(&mut self, on: Option<&'d TypeInfo>, field: &'d FieldNode) {
        let Some(on) = on else {
            // The unknown type is refused already. The parts below are still walked, for their variables and fragments.
            field.arguments.iter().for_each(|argument| literal::untyped(self, &argument.value, &argument.name));
            self.selections(None, &field.selections);
            return;
        };
        let Some(info) = self.catalogue.field(on, &field.name) else {
            self.faults.push(fault(format!("the type {} has no field {}", on.name, field.name), field.pos));
            field.arguments.iter().for_each(|argument| literal::untyped(self, &argument.value, &argument.name));
            self.selections(None, &field.selections);
            return;
        };
        self.arguments(&field.arguments, &info.arguments, field.pos, &format!("the field {}", field.name));
        let ty = self.catalogue.base(&info.ty);
        match ty.map(TypeInfo::is_composite) {
            Some(true) if field.selections.is_empty() => {
                let message = format!("the field {} is of {} and needs a selection", field.name, info.ty);
                self.faults.push(fault(message, field.pos));
            }
            Some(false) if !field.selections.is_empty() => {
                let message = format!("the field {} is of {} and takes no selection", field.name, info.ty);
                self.faults.push(fault(message, field.pos));
            }
            _ => {}
        }
        self.selections(ty.filter(|ty| ty.is_composite()), &field.selections);
    }

    fn arguments(&mut self, given: &'d [Argument], known: &'d [InputInfo], pos: Pos, whose: &str) {
        let mut seen = HashSet::new();
        for argument in given {
            if !seen.insert(&argument.name) {
                let message = format!("the argument {} is given several times", argument.name);
                self.faults.push(fault_at(&argument.name, message, argument.pos));
            }
            match known.iter().find(|info| info.name == argument.name) {
                Some(info) => literal::check_input(self, info, &argument.value, argument.name.to_string()),
                None => {
                    let message = format!("{whose} has no argument {}", argument.name);
                    self.faults.push(fault_at(&argument.name, message, argument.pos));
                    literal::untyped(self, &argument.value, &argument.name);
                }
            }
        }
        for info in known.iter().filter(|info| info.is_required() && !seen.contains(&info.name)) {
            let message = format!("{whose} needs the argument {} of type {}", info.name, info.ty);
            self.faults.push(fault_at(&info.name, message, pos));
        }
    }

    fn directives(&mut self, directives: &'d [Directive], location: &str) {
        let mut seen = HashSet::new();
        for directive in directives {
            let name = &directive.name;
            let Some(info) = self.catalogue.directive(name) else {
                self.faults.push(fault(format!("there is no directive @{name}"), directive.pos));
                directive.arguments.iter().for_each(|argument| literal::untyped(self, &argument.value, &argument.name));
                continue;
            };
            if !seen.insert(name) && !info.repeatable {
                self.faults.push(fault(format!("the directive @{name} stands here several times"), directive.pos));
            }
            if !info.locations.contains(&location) {
                self.faults.push(fault(format!("the directive @{name} has no place here"), directive.pos));
            }
            self.arguments(&directive.arguments, &info.arguments, directive.pos, &format!("the directive @{name}"));
        }
    }

    /// Checks that an operation declares the variable of a use, with a fitting type.
    fn variable_use(
        &mut self,
        operation: &'d OperationNode,
        place: &VariableUse<'d>,
        used: &mut HashMap<&'d Name, Option<usize>>,
    ) {
        let Some(variable) = operation.variables.iter().find(|variable| variable.name == *place.name) else {
            self.faults.push(fault(format!("the variable ${} is not declared", place.name), place.pos));
            return;
        };
        let bound = used.entry(place.name).or_default();
        *bound = [*bound, place.bound].into_iter().flatten().min();
        let Some(expected) = place.expected else { return };
        let has_value = variable.default.as_ref().is_some_and(|value| !matches!(value.node, Literal::Null));
        let serves = if variable.ty.nullable && !expected.nullable {
            (has_value || place.has_default) && holds(&variable.ty, &Type { nullable: true, ..expected.clone() })
        } else {
            holds(&variable.ty, expected)
        };
        if !serves {
            let message = format!("the variable ${} of {} is used as {expected}", place.name, variable.ty);
            self.faults.push(fault_at(&place.path, message, place.pos));
        } else if place.in_one_of && variable.ty.nullable {
            let message = format!("the variable ${} may be null, where exactly one field has a value", place.name);
            self.faults.push(fault_at(&place.path, message, place.pos));
        }
    }
}

/// Returns whether every value of a variable's type is a value of a place's type.
fn holds(variable: &Type, place: &Type) -> bool {
    if variable.nullable && !place.nullable {
        return false;
    }
    match (&variable.base, &place.base) {
        (BaseType::List(variable), BaseType::List(place)) => holds(variable, place),
        (BaseType::Named(variable), BaseType::Named(place)) => variable == place,
        _ => false,
    }
}
