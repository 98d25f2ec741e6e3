//! Spells a canonical operation: collects its names, and writes the text that all its spellings have in common.

use std::collections::HashSet;
use std::fmt::Write;

use async_graphql::{Name, parser::types::OperationType};
use async_graphql_value::Value as Input;
use sha2::{Digest, Sha256};

use super::canonical::{Field, Selection};

/// The names in an operation.
#[derive(Debug, Default)]
pub(in crate::server) struct NamesInUse {
    /// The first root field.
    pub(in crate::server) root: String,
    /// All selected fields.
    pub(in crate::server) fields: HashSet<Name>,
    /// Arguments and input fields that are written in the operation.
    pub(in crate::server) inputs: HashSet<Name>,
}

/// The result of reading an operation once, when it is made.
pub(super) struct Spelled {
    pub(super) named: NamesInUse,
    /// The variables in the order of their first use, and how often the library reads each.
    pub(super) uses: Vec<(Name, usize)>,
    pub(super) digest: [u8; 32],
    /// The length of the text.
    pub(super) bytes: usize,
}

/// Spells an operation. Variables are numbered by their first use, so that their names make no difference. Places in
/// the text make no difference either. The root argument `left_out` is not part of the text.
pub(super) fn spell(ty: OperationType, root: &Selection, left_out: Option<&str>) -> Spelled {
    let mut speller = Speller { text: ty.to_string(), named: NamesInUse::default(), uses: Vec::new() };
    if let Some(first) = root.fields_of_object().first() {
        speller.named.root = first.name.to_string();
    }
    speller.selection(root, left_out, 1);
    let Speller { text, named, uses } = speller;
    Spelled { named, uses, digest: Sha256::digest(text.as_bytes()).into(), bytes: text.len() }
}

struct Speller {
    text: String,
    named: NamesInUse,
    uses: Vec<(Name, usize)>,
}

impl Speller {
    fn selection(&mut self, selection: &Selection, left_out: Option<&str>, times: usize) {
        for (number, group) in selection.groups.iter().enumerate() {
            self.text.push('{');
            if selection.groups.len() > 1 {
                group.types.iter().for_each(|ty| self.word(ty));
            }
            // A field common to all groups is selected once, any other field once for each type of its group.
            for field in &group.fields {
                let times = match (field.is_common || selection.groups.len() == 1, number) {
                    (true, 0) => times,
                    (true, _) => 0,
                    (false, _) => times * group.types.len(),
                };
                self.field(field, left_out, times);
            }
            self.text.push('}');
        }
    }

    fn field(&mut self, field: &Field, left_out: Option<&str>, times: usize) {
        self.word(&field.key);
        self.word(&field.name);
        self.named.fields.insert(field.name.clone());
        self.text.push('(');
        for (name, _, value) in field.arguments.iter().filter(|(name, ..)| left_out != Some(name.as_str())) {
            self.word(name);
            self.named.inputs.insert(name.clone());
            self.value(value, times);
        }
        self.text.push(')');
        if let Some(selection) = &field.selection {
            self.selection(selection, None, times);
        }
    }

    fn word(&mut self, word: &str) {
        self.text.push_str(word);
        self.text.push(' ');
    }

    fn value(&mut self, value: &Input, times: usize) {
        match value {
            Input::Variable(name) => {
                let at = self.uses.iter().position(|(used, _)| used == name).unwrap_or(self.uses.len());
                match self.uses.get_mut(at) {
                    Some((_, uses)) => *uses += times,
                    None => self.uses.push((name.clone(), times)),
                }
                write!(self.text, "${at} ").unwrap_or_default();
            }
            Input::List(items) => {
                self.text.push('[');
                items.iter().for_each(|item| self.value(item, times));
                self.text.push(']');
            }
            Input::Object(fields) => {
                self.text.push('{');
                for (name, value) in fields {
                    self.word(name);
                    self.named.inputs.insert(name.clone());
                    self.value(value, times);
                }
                self.text.push('}');
            }
            other => write!(self.text, "{other} ").unwrap_or_default(),
        }
    }
}
