//! Measures a document before it is validated, and refuses a document that is too large.
//!
//! A document of 800 bytes can be a million fields once each spread is replaced by its fragment (written out). Each
//! fragment is measured once, after the fragments that it spreads, and every sum saturates. So no later step meets such
//! a document. The work is bounded: it visits nodes at most [`VISITS_PER_TOKEN`] times for each token, and recurses no
//! deeper than [`DocumentLimits::nesting`] brackets.

use std::collections::{HashMap, HashSet};

use async_graphql::{Name, ServerError};

use super::ast::{Document, Fragment, SelectionNode};
use crate::{domain, graphql::error::server_error};

/// The most visits of nodes for each token of the document; a test checks this bound.
pub const VISITS_PER_TOKEN: usize = 10;

/// The limits of a document. Sums count every fragment written out at each of its spreads.
#[derive(Clone, Debug)]
pub struct DocumentLimits {
    /// The most bytes of the text. 16 KiB holds GraphiQL's introspection eight times over.
    pub document_bytes: usize,
    /// The most lexical tokens of the text, all of which the parser reads.
    pub tokens: usize,
    /// The most brackets that are open at once, because the parser recurses and needs stack for each.
    pub nesting: usize,
    /// The most fields below each other. The introspection that GraphiQL sends has 15.
    pub depth: usize,
    /// The most aliases, the usual way to ask the same thing many times.
    pub aliases: usize,
    /// The most directives, written out.
    pub directives: usize,
    /// The most fields and spreads, written out, in operations and in each fragment: the work of validation. GraphiQL's
    /// introspection has under 500; 2,000 take a few milliseconds.
    pub selections: usize,
    /// The most operations: all of them are validated, although only one is run.
    pub operations: usize,
    /// The most fields that the answer may hold, with pages multiplied. At 0.6 µs for each field this is 30 ms of one
    /// core. A page of 100 rows of 40 fields, each row with two nested pages of 20 rows of 10 fields, still passes
    /// (44,000).
    pub cost: usize,
    /// The assumed rows of a page if the document selects `nodes` or `edges` and gives no size.
    pub page_rows: usize,
    /// The most fields of the canonical operation. It has more than `selections`, because a field on an abstract type
    /// stands in each group of possible types that differ.
    pub canonical_fields: usize,
    /// The bytes of cached valid documents, and as many bytes of canonical operations: a thousand ordinary documents.
    pub cache_bytes: u64,
}

impl Default for DocumentLimits {
    fn default() -> Self {
        Self {
            document_bytes: 16 * 1024,
            tokens: 2_000,
            nesting: 50,
            depth: 15,
            aliases: 30,
            directives: 20,
            selections: 2_000,
            operations: 10,
            cost: 50_000,
            page_rows: 50,
            canonical_fields: 5_000,
            cache_bytes: 16 << 20,
        }
    }
}

pub(super) fn within(what: &str, counted: usize, bound: usize) -> Result<(), ServerError> {
    if counted <= bound {
        return Ok(());
    }
    Err(server_error(domain::Error::limit("query", format!("the document has more than {bound} {what}"), bound)))
}

/// Measures a document against the limits; returns the number of visits of nodes.
pub(super) fn measure(document: &Document, limits: &DocumentLimits) -> Result<usize, ServerError> {
    within("operations", document.operations.len(), limits.operations)?;
    let by_name: HashMap<&Name, &Fragment> = document.fragments.iter().map(|it| (&it.name, it)).collect();
    let mut meter = Meter { fragments: HashMap::new(), visits: 0 };
    for fragment in meter.leaves_first(&by_name)? {
        let size = meter.size(&fragment.selections);
        meter.fragments.insert(&fragment.name, size);
    }
    let mut whole = Size::default();
    for operation in &document.operations {
        let size = meter.size(&operation.selections);
        whole = Size { directives: size.directives.saturating_add(operation.directives.len()), ..size }.beside(&whole);
    }
    // Validation compares the fields of every selection set with its spreads written out. That includes the fragments,
    // even a fragment without a spread.
    let walked = meter.fragments.values().fold(whole.selections, |sum, size| sum.saturating_add(size.selections));
    within("selections", walked, limits.selections)?;
    within("fields below each other", whole.depth, limits.depth)?;
    within("aliases", whole.aliases, limits.aliases)?;
    within("directives", whole.directives, limits.directives)?;
    Ok(meter.visits)
}

/// The size of a selection set, with its fragments written out.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    selections: usize,
    aliases: usize,
    directives: usize,
    depth: usize,
}

impl Size {
    fn beside(&self, other: &Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            aliases: self.aliases.saturating_add(other.aliases),
            directives: self.directives.saturating_add(other.directives),
            depth: self.depth.max(other.depth),
        }
    }
}

struct Meter<'d> {
    fragments: HashMap<&'d Name, Size>,
    visits: usize,
}

impl<'d> Meter<'d> {
    /// Orders the fragments, each after those that it spreads. It keeps its own stack, because a chain may be long.
    fn leaves_first(&mut self, fragments: &HashMap<&'d Name, &'d Fragment>) -> Result<Vec<&'d Fragment>, ServerError> {
        let mut spreads = HashMap::new();
        for (name, fragment) in fragments {
            let mut found = Vec::new();
            self.visits += spreads_in(&fragment.selections, &mut found);
            spreads.insert(*name, found);
        }
        let (mut done, mut open, mut order) = (HashSet::new(), HashSet::new(), Vec::new());
        for start in fragments.keys().copied() {
            let mut stack = vec![(start, 0)];
            while let Some((name, next)) = stack.last_mut() {
                self.visits += 1;
                let name = *name;
                if done.contains(name) {
                    stack.pop();
                    continue;
                }
                open.insert(name);
                let Some(child) = spreads[name].get(*next).copied() else {
                    done.insert(name);
                    open.remove(name);
                    order.push(fragments[name]);
                    stack.pop();
                    continue;
                };
                *next += 1;
                if open.contains(child) {
                    let message = format!("the fragment {child} spreads itself");
                    return Err(ServerError::new(message, fragments.get(child).map(|fragment| fragment.pos)));
                }
                if spreads.contains_key(child) && !done.contains(child) {
                    stack.push((child, 0));
                }
            }
        }
        Ok(order)
    }

    fn size(&mut self, set: &'d [SelectionNode]) -> Size {
        let mut sum = Size::default();
        for selection in set {
            self.visits += 1;
            let inner = match selection {
                SelectionNode::Field(field) => {
                    let children = self.size(&field.selections);
                    Size {
                        aliases: children.aliases.saturating_add(usize::from(field.alias.is_some())),
                        depth: children.depth.saturating_add(1),
                        ..children
                    }
                }
                SelectionNode::Spread(spread) => self.fragments.get(&spread.name).copied().unwrap_or_default(),
                SelectionNode::Inline(inline) => self.size(&inline.selections),
            };
            let directives = inner.directives.saturating_add(selection.directives().len());
            let selections = inner.selections.saturating_add(1);
            sum = Size { directives, selections, ..inner }.beside(&sum);
        }
        sum
    }
}

/// Gathers the names spread anywhere in `set`; returns the number of visits of nodes.
fn spreads_in<'d>(set: &'d [SelectionNode], found: &mut Vec<&'d Name>) -> usize {
    let mut visits = 0;
    for selection in set {
        visits += 1;
        visits += match selection {
            SelectionNode::Field(field) => spreads_in(&field.selections, found),
            SelectionNode::Inline(inline) => spreads_in(&inline.selections, found),
            SelectionNode::Spread(spread) => {
                found.push(&spread.name);
                0
            }
        };
    }
    visits
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use async_graphql::Response;
    use proptest::prelude::*;

    use super::*;
    use crate::graphql::error::{code_of, present};
    use crate::server::operation::parser::parse;

    /// The first request of GraphiQL 5: `getIntrospectionQuery()` of graphql 16 with all its options on.
    const INTROSPECTION: &str = include_str!("../../../tests/it/fixtures/introspection.graphql");

    fn judge(text: &str, limits: &DocumentLimits) -> Result<(usize, usize), ServerError> {
        let document = parse(text, limits)?;
        Ok((measure(&document, limits)?, document.tokens))
    }

    #[track_caller]
    fn refused(text: &str, code: &str, words: &str) {
        let error = judge(text, &DocumentLimits::default()).expect_err("the document is refused");
        assert!(error.message.contains(words), "{}", error.message);
        let shown = present(Response::from_errors(vec![error]));
        assert_eq!(code_of(&shown.errors[0]), Some(code));
    }

    #[track_caller]
    fn measured(text: &str, limits: &DocumentLimits) {
        let (visits, tokens) = judge(text, limits).expect("within the limits");
        assert!(visits <= tokens * VISITS_PER_TOKEN, "{visits} visits of {tokens} tokens");
    }

    /// Each fragment spreads the next fragment twice: the text grows by a line, the document doubles.
    fn bomb(levels: usize) -> String {
        let mut text = String::from("{ ...F0 }");
        for level in 0..levels {
            let next = level + 1;
            write!(text, " fragment F{level} on Query {{ ...F{next} ...F{next} }}").expect("a string takes text");
        }
        write!(text, " fragment F{levels} on Query {{ version }}").expect("a string takes text");
        text
    }

    #[test]
    fn the_introspection_of_graphiql_passes() {
        measured(INTROSPECTION, &DocumentLimits::default());
    }

    #[test]
    fn a_fragment_bomb_is_refused_at_a_price_of_its_text() {
        let text = bomb(150);
        refused(&text, "LIMIT", "selections");
        measured(&text, &DocumentLimits { selections: usize::MAX, ..DocumentLimits::default() });
        refused(&bomb(20).replace("{ ...F0 }", "{ version }"), "LIMIT", "selections");
        refused(&bomb(20).replace("version", "...Nobody"), "LIMIT", "selections");
    }

    #[test]
    fn a_fragment_that_spreads_itself_is_refused() {
        let text = "{ ...A } fragment A on Query { ...B } fragment B on Query { x { ...A } }";
        refused(text, "INVALID", "spreads itself");
    }

    #[test]
    fn a_long_chain_of_fragments_needs_no_stack() {
        let mut text = String::from("{ ...F0 }");
        for level in 0..240 {
            write!(text, " fragment F{level} on Query {{ ...F{} }}", level + 1).expect("a string takes text");
        }
        let text = text + " fragment F240 on Query { version }";
        refused(&text, "LIMIT", "selections");
        measured(&text, &DocumentLimits { selections: usize::MAX, ..DocumentLimits::default() });
    }

    #[test]
    fn the_text_is_bounded_while_it_is_read() {
        refused(&format!("{{ a # {} \n}}", "x".repeat(16 * 1024)), "LIMIT", "16384 bytes");
        refused(&format!("{{ {} }}", "a ".repeat(2_000)), "LIMIT", "2000 tokens");
        refused(&format!("{{ a(b: {}1{}) }}", "[".repeat(900), "]".repeat(900)), "LIMIT", "50 nested brackets");
        let hidden = r#"{ a(b: "{[(", c: """ {"{" \""" [[ """, d: "\"{") # {{{{
        }"#;
        assert_eq!(judge(hidden, &DocumentLimits { nesting: 2, ..DocumentLimits::default() }).map(|it| it.1), Ok(14));
    }

    #[test]
    fn depth_aliases_directives_and_operations_are_bounded() {
        refused(&format!("{{ {} x {} }}", "a {".repeat(15), "}".repeat(15)), "LIMIT", "15 fields below");
        let many: String = (0..31).map(|n| format!("a{n}: x ")).collect();
        refused(&format!("{{ {many} }}"), "LIMIT", "30 aliases");
        refused(&format!("{{ {} }}", "x @include(if: true) ".repeat(21)), "LIMIT", "20 directives");
        let operations: String = (0..11).map(|n| format!("query Q{n} {{ x }} ")).collect();
        refused(&operations, "LIMIT", "10 operations");
        let nine = format!("{} x {}", "a {".repeat(8), "}".repeat(8));
        let through = format!("{{ b {{ {} ...F {} }} }} fragment F on T {{ {nine} }}", "c {".repeat(6), "}".repeat(6));
        refused(&through, "LIMIT", "15 fields");
    }

    /// Text that looks like GraphQL: other text is refused at its first token.
    fn documents() -> impl Strategy<Value = String> {
        let pieces = "{ } ( ) [ ] ... : $ @ ! = \" \"\"\" \\ # , a b F G on query mutation subscription fragment first 10 -1.5e3 \
                      nodes skip null true \u{feff} é";
        let phrases = ["\n", " ", "fragment F on T {", "subscription {", "a(first: 10) {", "query Q($n: Int = 3) {"];
        let pieces: Vec<String> = pieces.split(' ').chain(phrases).map(str::to_owned).collect();
        prop::collection::vec(prop::sample::select(pieces), 0..120).prop_map(|pieces| pieces.join(" "))
    }

    /// Selections of fields, inline fragments and spreads of `F0` to `F9`; some of these fragments exist.
    fn selections() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![Just("a".to_owned()), (0..10).prop_map(|n| format!("...F{n}")), Just("x: a".to_owned())];
        leaf.prop_recursive(6, 60, 6, |inner| {
            let set = prop::collection::vec(inner, 1..6).prop_map(|items| items.join(" "));
            prop_oneof![
                set.clone().prop_map(|set| format!("a(first: 9) {{ {set} }}")),
                set.prop_map(|set| format!("... {{ {set} }}"))
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in prop_oneof![documents(), any::<String>()]) {
            drop(judge(&text, &DocumentLimits::default()));
        }

        #[test]
        fn any_document_is_measured_at_ten_visits_a_token(
            root in selections(),
            fragments in prop::collection::vec(selections(), 0..10),
        ) {
            let mut text = format!("{{ {root} }}");
            for (number, set) in fragments.iter().enumerate() {
                write!(text, " fragment F{number} on Query {{ {set} }}").expect("a string takes text");
            }
            let roomy = DocumentLimits { selections: usize::MAX, aliases: usize::MAX, ..DocumentLimits::default() };
            if let Ok((visits, tokens)) = judge(&text, &roomy) {
                prop_assert!(visits <= tokens * VISITS_PER_TOKEN, "{visits} visits");
            }
        }
    }
}
