//! Reads a Rust file by `syn`, for the rules of the architecture: its functions, and each name in its code and attributes.
//!
//! Comments and strings hold no names. The arguments of macros are read as tokens, because their grammar is unknown.

use std::collections::BTreeSet;
use std::mem;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, Block, ExprMethodCall, FnArg, ImplItemFn, Item, ItemEnum, ItemFn, ItemMod, ItemStruct, ItemTrait,
    ItemUse, Meta, Pat, PatType, Signature, Type, UseTree, VisRestricted,
};

/// A file of `src/`.
pub(crate) struct RustFile {
    /// Its path below `src/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) names: Vec<Name>,
    /// The functions outside unit tests.
    pub(crate) functions: Vec<Function>,
}

/// A name in a file, with the path that it ends.
pub(crate) struct Name {
    pub(crate) role: Role,
    /// The steps of the path. The last step is `*` or `self` if a `use` ends so.
    pub(crate) path: Vec<String>,
    /// The same path from the root of the crate, if it begins with `crate`, `self`, `super` or a child of this module.
    pub(crate) in_crate: Option<Vec<String>>,
    pub(crate) is_in_unit_tests: bool,
}

/// A function or a method with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    /// The lines from `fn` to the last brace.
    pub(crate) lines: usize,
    /// The names of its parameters of type `bool`.
    pub(crate) booleans: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A path in a type, an expression, a `use` or the arguments of a macro.
    Path,
    Attribute,
    /// The method in `value.method()`.
    Method,
    /// The definition of a function.
    Function,
    /// The definition of a struct, an enum or a trait.
    Type,
}

impl RustFile {
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{path} is Rust: {error}"));
        let steps: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        let is_root = |step: &&str| ["mod", "lib", "main"].contains(step);
        let children = parsed.items.iter().filter_map(|item| match item {
            Item::Mod(child) if child.content.is_none() && steps.last().is_some_and(is_root) => Some(&child.ident),
            _ => None,
        });
        let mut names = Names {
            module: steps.iter().filter(|step| !is_root(step)).map(|step| (*step).to_owned()).collect(),
            children: children.map(ToString::to_string).collect(),
            inline: 0,
            is_in_unit_tests: false,
            found: Vec::new(),
            functions: Vec::new(),
        };
        names.visit_file(&parsed);
        Self { path: path.to_owned(), text: text.to_owned(), names: names.found, functions: names.functions }
    }

    /// Returns the names outside the unit tests at the file's end, which may do more than the file.
    pub(crate) fn outside_tests(&self) -> impl Iterator<Item = &Name> {
        self.names.iter().filter(|name| !name.is_in_unit_tests)
    }
}

/// Collects the names of a file.
struct Names {
    /// The module that is being read, from the root of the crate.
    module: Vec<String>,
    /// The modules that the file declares and other files hold.
    children: BTreeSet<String>,
    /// The number of modules around, inside the file.
    inline: usize,
    is_in_unit_tests: bool,
    found: Vec<Name>,
    functions: Vec<Function>,
}

impl Names {
    fn add(&mut self, role: Role, path: Vec<String>) {
        if !path.is_empty() {
            let in_crate = self.in_crate(&path);
            self.found.push(Name { role, path, in_crate, is_in_unit_tests: self.is_in_unit_tests });
        }
    }

    fn in_crate(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first().filter(|(_, rest)| !rest.is_empty())?;
        let in_crate = match first.as_str() {
            "crate" | "watchfloor" => rest.to_vec(),
            "self" => [&self.module, rest].concat(),
            "super" => {
                let steps = path.iter().take_while(|step| *step == "super").count();
                let above = self.module.len().saturating_sub(steps);
                [&self.module[..above], &path[steps..]].concat()
            }
            child if self.inline == 0 && self.children.contains(child) => [&self.module, path].concat(),
            _ => return None,
        };
        Some(in_crate).filter(|path| !path.is_empty())
    }

    fn add_function(&mut self, signature: &Signature, body: &Block) {
        if self.is_in_unit_tests {
            return;
        }
        let (first, last) = (signature.fn_token.span.start().line, body.brace_token.span.close().end().line);
        let booleans = signature.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(PatType { pat, ty, .. }) => match (&**pat, &**ty) {
                (Pat::Ident(name), Type::Path(path)) if path.path.is_ident("bool") => Some(name.ident.to_string()),
                _ => None,
            },
            FnArg::Receiver(_) => None,
        });
        let (name, lines) = (signature.ident.to_string(), last + 1 - first);
        self.functions.push(Function { name, lines, booleans: booleans.collect() });
    }

    fn add_use(&mut self, before: &[String], tree: &UseTree) {
        let and = |step: String| [before, &[step]].concat();
        match tree {
            UseTree::Path(path) => self.add_use(&and(path.ident.to_string()), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(before, tree)),
            UseTree::Name(name) => self.add(Role::Path, and(name.ident.to_string())),
            UseTree::Rename(renamed) => self.add(Role::Path, and(renamed.ident.to_string())),
            UseTree::Glob(_) => self.add(Role::Path, and("*".to_owned())),
        }
    }

    /// Adds the paths in tokens. `before` is the path before the group that the tokens stand in: `a` for `a::{b, c}`.
    fn add_tokens(&mut self, before: &[String], tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            if matches!(&token, TokenTree::Punct(sign) if sign.as_char() == ':') {
                colons += 1;
                continue;
            }
            let goes_on = mem::take(&mut colons) == 2;
            match token {
                TokenTree::Ident(step) if goes_on => path.push(step.to_string()),
                TokenTree::Ident(step) => {
                    let next = [before, &[step.to_string()]].concat();
                    self.add(Role::Path, mem::replace(&mut path, next));
                }
                TokenTree::Group(group) if goes_on => self.add_tokens(&mem::take(&mut path), group.stream()),
                TokenTree::Group(group) => {
                    self.add(Role::Path, mem::take(&mut path));
                    self.add_tokens(&[], group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.add(Role::Path, mem::take(&mut path)),
            }
        }
        self.add(Role::Path, path);
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let was_in_unit_tests = self.is_in_unit_tests;
        self.is_in_unit_tests |= module.attrs.iter().any(is_unit_tests);
        self.module.push(module.ident.to_string());
        self.inline += 1;
        visit::visit_item_mod(self, module);
        self.inline -= 1;
        self.module.pop();
        self.is_in_unit_tests = was_in_unit_tests;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(Role::Path, path.segments.iter().map(|step| step.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// Skips the path in `pub(in crate::server)`: it says which module sees an item, and imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        self.add(Role::Attribute, attribute.path().segments.iter().map(|step| step.ident.to_string()).collect());
        if let Meta::List(list) = &attribute.meta {
            self.visit_token_stream(&list.tokens);
        }
    }

    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.add_tokens(&[], tokens.clone());
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.add(Role::Method, vec![call.method.to_string()]);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_signature(&mut self, function: &'ast Signature) {
        self.add(Role::Function, vec![function.ident.to_string()]);
        visit::visit_signature(self, function);
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.add_function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.add_function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.add(Role::Type, vec![item.ident.to_string()]);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.add(Role::Type, vec![item.ident.to_string()]);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.add(Role::Type, vec![item.ident.to_string()]);
        visit::visit_item_trait(self, item);
    }
}

/// Tells whether an attribute is `#[cfg(test)]`.
fn is_unit_tests(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
}
