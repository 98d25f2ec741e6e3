//! What a document may cost, decided before the schema sees it.
//!
//! async-graphql expands each fragment again at each spread while it validates, so a document of 800 bytes can hold a
//! worker for minutes before any limit of the schema is compared. Here each node is looked at a bounded number of times
//! (`Admitted::visits`, at most [`VISITS_PER_TOKEN`] for each token): fragments are sized once, from the leaves up, and
//! every sum saturates. Nothing here recurses deeper than [`Limits::nesting`] brackets.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Positioned, ServerError, Value, Variables,
    parser::{
        parse_query,
        types::{
            DocumentOperations, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, OperationType,
            Selection, SelectionSet,
        },
    },
};

use crate::{domain, graphql::error::server_error};

/// The most times that a node of the document is looked at, for each token of it; a test holds the guard to it.
pub const VISITS_PER_TOKEN: usize = 10;

/// The name of the subscription root, for fragments that are spread on it.
pub const SUBSCRIPTION_ROOT: &str = "Subscription";

/// What one document may cost. Sums are those of the document with every fragment written out where it is spread.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Length of the text. 16 KiB holds GraphiQL's introspection eight times over.
    pub document_bytes: usize,
    /// Words and signs of the text: what the parser has to look at.
    pub tokens: usize,
    /// Brackets open at once: what the parser, which recurses, may need of the stack.
    pub nesting: usize,
    /// Fields below each other. The introspection that GraphiQL sends has 15.
    pub depth: usize,
    /// Fields under another name, the usual way to ask the same thing many times.
    pub aliases: usize,
    /// Directives, each of which is run for each field that carries it.
    pub directives: usize,
    /// Fields and spreads, written out: what validation walks through, in operations and in each fragment. GraphiQL's
    /// introspection has under 500; 2,000 take a few milliseconds.
    pub selections: usize,
    /// Operations, all of which are validated though only one is run.
    pub operations: usize,
    /// Fields that the answer may hold, pages multiplied. At 0.6 µs for each field this is 30 ms of one core, and a
    /// page of 100 rows of 40 fields, each row with two nested pages of 20 rows of 10, still passes (44,000).
    pub cost: usize,
    /// How many rows a page is taken to have when the document asks for `nodes` or `edges` and gives no size.
    pub page_rows: usize,
}

/// How long the lists are taken to be that come without pages: by the name of the field, as the guard knows no types. A
/// few times what a busy desk has, far below what the product allows, so that neither many rows of long lists pass nor
/// the page of an ordinary incident fails.
pub const LISTS: [(&str, usize); 25] = [
    ("added", 5),
    ("addedTags", 5),
    ("alerts", 10),
    ("attachments", 5),
    ("byOwner", 50),
    ("bySeverity", 4),
    ("byStatus", 2),
    ("correlations", 10),
    ("entities", 10),
    ("entries", 2),
    ("groups", 20),
    ("history", 5),
    ("members", 20),
    ("orderBy", 1),
    ("owner", 1),
    ("ownerChanges", 5),
    ("product", 20),
    ("refusals", 2),
    ("removed", 5),
    ("severity", 4),
    ("sharedEntities", 5),
    ("status", 4),
    ("tags", 5),
    ("users", 100),
    ("views", 50),
];

/// Fields that take more work than others, and how many others: Markdown is rendered, a log is folded, the rows of a bookmark
/// are long, what is unread is counted over a whole queue; similar incidents take a look at up to a hundred entities, under a
/// millisecond each time on an ordinary incident.
const DEAR: [(&str, usize); 6] = [
    ("fullTitle", 250),
    ("html", 20),
    ("incidentAsOf", 1_000),
    ("rows", 250),
    ("similar", 1_000),
    ("unreadCount", 250),
];

impl Default for Limits {
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
        }
    }
}

/// A document that may be executed, parsed once.
#[derive(Debug)]
pub struct Admitted {
    /// To be handed to `Request::set_parsed_query`.
    pub document: ExecutableDocument,
    /// What the chosen operation is.
    pub operation: OperationType,
    /// Fields that the answer may hold.
    pub cost: usize,
    /// How often a node was looked at.
    pub visits: usize,
    /// Words and signs of the text.
    pub tokens: usize,
}

/// Parses `query` and measures it; `operation_name` chooses among several operations.
pub fn admit(
    query: &str,
    operation_name: Option<&str>,
    variables: &Variables,
    limits: &Limits,
) -> Result<Admitted, ServerError> {
    within("bytes", query.len(), limits.document_bytes)?;
    let text = measure_text(query, limits);
    within("tokens", text.tokens, limits.tokens)?;
    within("nested brackets", text.nesting, limits.nesting)?;

    let mut document = parse_query(query)?;
    within("operations", document.operations.iter().len(), limits.operations)?;
    let chosen = chosen_operation(&document.operations, operation_name)?;
    let operation = chosen.ty;
    given_variables(chosen, variables)?;

    let mut meter = Meter { chosen, variables, page_rows: limits.page_rows, fragments: HashMap::new(), visits: 0 };
    for name in meter.leaves_first(&document.fragments)? {
        let fragment = &document.fragments[name].node;
        let size = meter.size(&fragment.selection_set.node);
        meter.fragments.insert(name, (&fragment.type_condition.node.on.node, size));
    }
    let cost = meter.size(&chosen.selection_set.node).cost;
    let whole = document.operations.iter().fold(Size::default(), |sum, (_, operation)| {
        let size = meter.size(&operation.node.selection_set.node);
        Size { directives: size.directives.saturating_add(operation.node.directives.len()), ..size }.beside(&sum)
    });
    let mut visits = meter.visits;
    // Validation compares the fields of every selection set with its spreads written out: those in fragments as well,
    // even in one that nobody spreads.
    let walked = meter.fragments.values().fold(whole.selections, |sum, (_, size)| sum.saturating_add(size.selections));
    within("selections", walked, limits.selections)?;
    within("fields below each other", whole.depth, limits.depth)?;
    within("aliases", whole.aliases, limits.aliases)?;
    within("directives", whole.directives, limits.directives)?;
    within("fields in the answer", cost, limits.cost)?;

    visits += single_roots(&mut document)?;
    Ok(Admitted { document, operation, cost, visits, tokens: text.tokens })
}

fn within(what: &str, counted: usize, bound: usize) -> Result<(), ServerError> {
    if counted <= bound {
        return Ok(());
    }
    Err(server_error(domain::Error::limit("query", format!("the document has more than {bound} {what}"), bound)))
}

fn invalid(path: impl Into<String>, message: impl Into<String>) -> ServerError {
    server_error(domain::Error::invalid(path, message))
}

struct Text {
    tokens: usize,
    nesting: usize,
}

/// Counts tokens as the grammar has them, or more; stops when a limit is passed.
fn measure_text(query: &str, limits: &Limits) -> Text {
    let mut text = Text { tokens: 0, nesting: 0 };
    let mut open = 0_usize;
    let mut rest = query.as_bytes();
    while let Some(&first) = rest.first() {
        let length = match first {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => 1,
            b'#' => line(rest),
            _ => {
                text.tokens += 1;
                token(rest)
            }
        };
        match first {
            b'{' | b'[' | b'(' => open += 1,
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            _ => {}
        }
        text.nesting = text.nesting.max(open);
        if text.tokens > limits.tokens || text.nesting > limits.nesting {
            break;
        }
        rest = &rest[length..];
    }
    text
}

fn token(rest: &[u8]) -> usize {
    let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    match rest {
        _ if word > 0 => word,
        [b'"', b'"', b'"', ..] => 3 + block_string(&rest[3..]),
        [b'"', ..] => 1 + string(&rest[1..]),
        [b'.', b'.', b'.', ..] => 3,
        _ => 1,
    }
}

fn line(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| !matches!(byte, b'\n' | b'\r')).count()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'"' => return at + 1,
            b'\n' | b'\r' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}

fn block_string(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'"', b'"', b'"', ..] => return at + 3,
            [b'\\', b'"', b'"', b'"', ..] => at += 4,
            _ => at += 1,
        }
    }
    rest.len()
}

fn chosen_operation<'d>(
    operations: &'d DocumentOperations,
    name: Option<&str>,
) -> Result<&'d OperationDefinition, ServerError> {
    let mut named = operations.iter();
    let found = match (operations, name) {
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name),
        (DocumentOperations::Single(_), Some(_)) => None,
        (_, None) if operations.iter().len() > 1 => {
            return Err(invalid("operationName", "the document has several operations; say which one to run"));
        }
        (_, None) => named.next().map(|(_, operation)| operation),
    };
    match found {
        Some(operation) => Ok(&operation.node),
        None => Err(invalid("operationName", "the document has no operation of that name")),
    }
}

/// A variable that must have a value has one. async-graphql finds out only where it is used, in the midst of execution.
fn given_variables(operation: &OperationDefinition, variables: &Variables) -> Result<(), ServerError> {
    for definition in operation.variable_definitions.iter().map(|definition| &definition.node) {
        let name = &definition.name.node;
        let missing = match variables.get(name) {
            None => definition.default_value.is_none(),
            Some(value) => *value == Value::Null,
        };
        if missing && !definition.var_type.node.nullable {
            let message = format!("the variable ${name} of type {} needs a value", definition.var_type.node);
            return Err(invalid(format!("variables.{name}"), message));
        }
    }
    Ok(())
}

/// What a selection set amounts to, with its fragments written out.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    selections: usize,
    aliases: usize,
    directives: usize,
    cost: usize,
    depth: usize,
    /// Whether the rows of a page are selected right here.
    rows: bool,
}

impl Size {
    fn beside(&self, other: &Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            aliases: self.aliases.saturating_add(other.aliases),
            directives: self.directives.saturating_add(other.directives),
            cost: self.cost.saturating_add(other.cost),
            depth: self.depth.max(other.depth),
            rows: self.rows || other.rows,
        }
    }
}

struct Meter<'d> {
    chosen: &'d OperationDefinition,
    variables: &'d Variables,
    page_rows: usize,
    fragments: HashMap<&'d Name, (&'d Name, Size)>,
    visits: usize,
}

impl<'d> Meter<'d> {
    /// The fragments, each after all that it spreads; an own stack, since a chain of fragments can be long.
    fn leaves_first(
        &mut self,
        fragments: &'d HashMap<Name, Positioned<FragmentDefinition>>,
    ) -> Result<Vec<&'d Name>, ServerError> {
        let mut spreads = HashMap::new();
        for (name, fragment) in fragments {
            let mut found = Vec::new();
            self.visits += spreads_in(&fragment.node.selection_set.node, &mut found);
            spreads.insert(name, found);
        }
        let (mut done, mut open, mut order) = (HashSet::new(), HashSet::new(), Vec::new());
        for start in fragments.keys() {
            let mut stack = vec![(start, 0)];
            while let Some((name, next)) = stack.last_mut() {
                self.visits += 1;
                let name = *name;
                if done.contains(name) {
                    stack.pop();
                    continue;
                }
                open.insert(name);
                let Some(child) = spreads[name].get(*next) else {
                    done.insert(name);
                    open.remove(name);
                    order.push(name);
                    stack.pop();
                    continue;
                };
                *next += 1;
                if open.contains(child) {
                    return Err(invalid("query", format!("the fragment {child} spreads itself")));
                }
                if spreads.contains_key(child) && !done.contains(child) {
                    stack.push((child, 0));
                }
            }
        }
        Ok(order)
    }

    fn size(&mut self, set: &'d SelectionSet) -> Size {
        let mut sum = Size::default();
        // A thing is of one type: of what is asked for on several, the dearest is what it costs. (An interface holds beside
        // its object's type; there are two, so that this is at most three times too little.)
        let mut by_type: HashMap<&'d Name, usize> = HashMap::new();
        for selection in &set.items {
            self.visits += 1;
            let (on, mut inner) = match &selection.node {
                Selection::Field(field) => (None, self.field(&field.node)),
                Selection::FragmentSpread(spread) => {
                    let (on, size) = self.fragments.get(&spread.node.fragment_name.node).copied().unzip();
                    (on, size.unwrap_or_default())
                }
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref().map(|condition| &condition.node.on.node);
                    (on, self.size(&fragment.node.selection_set.node))
                }
            };
            if let Some(on) = on {
                let cost = by_type.entry(on).or_default();
                *cost = cost.saturating_add(inner.cost);
                inner.cost = 0;
            }
            let directives = inner.directives.saturating_add(selection.node.directives().len());
            let selections = inner.selections.saturating_add(1);
            sum = Size { directives, selections, ..inner }.beside(&sum);
        }
        sum.cost = sum.cost.saturating_add(by_type.into_values().max().unwrap_or_default());
        sum
    }

    fn field(&mut self, field: &'d Field) -> Size {
        let children = self.size(&field.selection_set.node);
        let rows = self.rows(field, &children);
        let name = field.name.node.as_str();
        let own = DEAR.iter().find(|(dear, _)| *dear == name).map_or(1, |(_, cost)| *cost);
        Size {
            aliases: children.aliases.saturating_add(usize::from(field.alias.is_some())),
            cost: children.cost.saturating_mul(rows).saturating_add(own),
            depth: children.depth.saturating_add(1),
            rows: matches!(name, "nodes" | "edges") && field.arguments.is_empty(),
            ..children
        }
    }

    fn rows(&self, field: &Field, children: &Size) -> usize {
        let named = |(list, _): &&(&str, usize)| *list == field.name.node.as_str();
        match ["first", "last", "ids"].into_iter().filter_map(|name| self.number(field, name)).max() {
            Some(rows) => rows.max(1),
            None if children.rows => self.page_rows,
            None if field.selection_set.node.items.is_empty() => 1,
            None => LISTS.iter().find(named).map_or(1, |(_, length)| *length),
        }
    }

    /// The number that an argument gives, or how many things it lists.
    fn number(&self, field: &Field, argument: &str) -> Option<usize> {
        let literal_or_variable = field.get_argument(argument)?.node.clone();
        let value = literal_or_variable.into_const_with(|name| {
            let given = self.variables.get(&name).or_else(|| self.default_of(&name));
            given.cloned().ok_or(())
        });
        match value {
            Ok(Value::Number(number)) => Some(usize::try_from(number.as_u64()?).unwrap_or(usize::MAX)),
            Ok(Value::List(items)) => Some(items.len()),
            _ => None,
        }
    }

    fn default_of(&self, name: &Name) -> Option<&'d Value> {
        let definitions = self.chosen.variable_definitions.iter();
        let definition = definitions.map(|definition| &definition.node).find(|it| it.name.node == *name)?;
        definition.default_value.as_ref().map(|value| &value.node)
    }
}

/// Gathers the names spread anywhere in `set`; says how many nodes it looked at.
fn spreads_in<'d>(set: &'d SelectionSet, found: &mut Vec<&'d Name>) -> usize {
    let mut visits = 0;
    for selection in &set.items {
        visits += 1;
        visits += match &selection.node {
            Selection::Field(field) => spreads_in(&field.node.selection_set.node, found),
            Selection::InlineFragment(fragment) => spreads_in(&fragment.node.selection_set.node, found),
            Selection::FragmentSpread(spread) => {
                found.push(&spread.node.fragment_name.node);
                0
            }
        };
    }
    visits
}

/// Leaves each subscription with its one root field, written where async-graphql looks for it: it overlooks a field
/// inside a fragment (no event, ever) and interleaves two. Says how many nodes it looked at.
fn single_roots(document: &mut ExecutableDocument) -> Result<usize, ServerError> {
    let ExecutableDocument { operations, fragments } = document;
    let mut inlined = HashSet::new();
    let mut visits = 0;
    let all: Vec<&mut Positioned<OperationDefinition>> = match operations {
        DocumentOperations::Single(operation) => vec![operation],
        DocumentOperations::Multiple(named) => named.values_mut().collect(),
    };
    for operation in all.into_iter().map(|operation| &mut operation.node) {
        if operation.ty == OperationType::Subscription {
            let roots = root_fields(&operation.selection_set.node, fragments, &mut inlined, &mut visits)?;
            let root = single_root(roots)?;
            let pos = root.pos;
            operation.selection_set.node.items = vec![Positioned::new(Selection::Field(root), pos)];
        }
    }
    if inlined.is_empty() {
        return Ok(visits);
    }

    // A fragment that is written out may no longer be reached, which validation would object to.
    let mut spread = Vec::new();
    for (_, operation) in operations.iter() {
        visits += spreads_in(&operation.node.selection_set.node, &mut spread);
    }
    let mut reached = HashSet::new();
    while let Some(name) = spread.pop() {
        if let Some(fragment) = fragments.get(name).filter(|_| reached.insert(name.clone())) {
            visits += spreads_in(&fragment.node.selection_set.node, &mut spread);
        }
    }
    fragments.retain(|name, _| reached.contains(name) || !inlined.contains(name));
    Ok(visits)
}

fn root_fields(
    set: &SelectionSet,
    fragments: &HashMap<Name, Positioned<FragmentDefinition>>,
    inlined: &mut HashSet<Name>,
    visits: &mut usize,
) -> Result<Vec<Positioned<Field>>, ServerError> {
    let mut roots = Vec::new();
    let mut seen = HashSet::new();
    let mut stack: Vec<&Positioned<Selection>> = set.items.iter().rev().collect();
    while let Some(selection) = stack.pop() {
        *visits += 1;
        if let Some(directive) = selection.node.directives().first() {
            let message = format!("a subscription's root field takes no @{}", directive.node.name.node);
            return Err(invalid("query", message));
        }
        let (on, inner) = match &selection.node {
            Selection::Field(field) => {
                roots.push(field.clone());
                continue;
            }
            Selection::InlineFragment(fragment) => {
                (fragment.node.type_condition.as_ref(), &fragment.node.selection_set.node)
            }
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                let Some(fragment) = fragments.get(name) else {
                    return Err(invalid("query", format!("there is no fragment {name}")));
                };
                if !seen.insert(name) {
                    continue;
                }
                inlined.insert(name.clone());
                (Some(&fragment.node.type_condition), &fragment.node.selection_set.node)
            }
        };
        if let Some(on) = on.map(|on| &on.node.on.node).filter(|on| on.as_str() != SUBSCRIPTION_ROOT) {
            return Err(invalid("query", format!("a fragment on {on} cannot be spread on {SUBSCRIPTION_ROOT}")));
        }
        stack.extend(inner.items.iter().rev());
    }
    Ok(roots)
}

/// The one field; fields that answer under one name, asked for alike, are one.
fn single_root(roots: Vec<Positioned<Field>>) -> Result<Positioned<Field>, ServerError> {
    let mut roots = roots.into_iter();
    let Some(mut root) = roots.next() else {
        return Err(invalid("query", "a subscription selects one root field"));
    };
    for other in roots {
        if !alike(&root.node, &other.node) {
            return Err(invalid("query", "a subscription selects one root field, not several"));
        }
        root.node.selection_set.node.items.extend(other.node.selection_set.node.items);
    }
    if root.node.name.node.starts_with("__") {
        return Err(invalid("query", "a subscription selects a root field of its own, not of introspection"));
    }
    Ok(root)
}

fn alike(one: &Field, other: &Field) -> bool {
    let mut arguments = one.arguments.iter();
    one.response_key().node == other.response_key().node
        && one.name.node == other.name.node
        && one.arguments.len() == other.arguments.len()
        && arguments.all(|(name, value)| other.get_argument(&name.node).is_some_and(|it| it.node == value.node))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::graphql::error::code_of;

    /// What GraphiQL 5 sends before it can help: `getIntrospectionQuery()` of graphql 16 with all its options on.
    const INTROSPECTION: &str = include_str!("../../tests/it/fixtures/introspection.graphql");

    fn judge(query: &str) -> Result<Admitted, ServerError> {
        admit(query, None, &Variables::default(), &Limits::default())
    }

    fn with(query: &str, variables: serde_json::Value) -> Result<Admitted, ServerError> {
        admit(query, None, &Variables::from_json(variables), &Limits::default())
    }

    #[track_caller]
    fn refused(query: &str, code: &str, words: &str) {
        let error = judge(query).expect_err("the document is refused");
        assert!(error.message.contains(words), "{}", error.message);
        let extensions = crate::graphql::error::present(async_graphql::Response::from_errors(vec![error]));
        assert_eq!(code_of(&extensions.errors[0]), Some(code));
    }

    /// Each fragment spreads the next one twice: the text grows by a line, the document doubles.
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
        let admitted = judge(INTROSPECTION).expect("GraphiQL can introspect");
        assert!(admitted.visits <= admitted.tokens * VISITS_PER_TOKEN);
    }

    #[test]
    fn a_fragment_bomb_is_refused_at_a_price_of_its_text() {
        let text = bomb(150);
        refused(&text, "LIMIT", "selections");
        let roomy = Limits { selections: usize::MAX, cost: usize::MAX, ..Limits::default() };
        let admitted = admit(&text, None, &Variables::default(), &roomy).expect("no bound but the visits");
        assert_eq!(admitted.cost, usize::MAX, "the sum saturates");
        assert!(admitted.visits <= admitted.tokens * VISITS_PER_TOKEN, "{} visits", admitted.visits);
    }

    #[test]
    fn a_bomb_that_nobody_spreads_is_refused() {
        refused(&bomb(20).replace("{ ...F0 }", "{ version }"), "LIMIT", "selections");
    }

    #[test]
    fn a_bomb_of_nothing_but_spreads_is_refused() {
        refused(&bomb(20).replace("version", "...Nobody"), "LIMIT", "selections");
    }

    #[test]
    fn a_fragment_that_spreads_itself_is_refused() {
        refused(
            "{ ...A } fragment A on Query { ...B } fragment B on Query { x { ...A } }",
            "INVALID",
            "spreads itself",
        );
    }

    #[test]
    fn a_long_chain_of_fragments_needs_no_stack() {
        let mut text = String::from("{ ...F0 }");
        for level in 0..240 {
            write!(text, " fragment F{level} on Query {{ ...F{} }}", level + 1).expect("a string takes text");
        }
        let text = text + " fragment F240 on Query { version }";
        refused(&text, "LIMIT", "selections");
        let roomy = Limits { selections: usize::MAX, ..Limits::default() };
        let admitted = admit(&text, None, &Variables::default(), &roomy).expect("it is one field");
        assert_eq!(admitted.cost, 1);
    }

    #[test]
    fn the_text_is_bounded_before_it_is_parsed() {
        refused(&format!("{{ a # {} \n}}", "x".repeat(16 * 1024)), "LIMIT", "16384 bytes");
        refused(&format!("{{ {} }}", "a ".repeat(2_000)), "LIMIT", "2000 tokens");
        refused(&format!("{{ a(b: {}1{}) }}", "[".repeat(900), "]".repeat(900)), "LIMIT", "50 nested brackets");
    }

    #[test]
    fn strings_and_comments_hide_no_tokens_and_open_no_brackets() {
        let text = r#"{ a(b: "{[(", c: """ {"{" \""" [[ """, d: "\"{") # {{{{
        }"#;
        let counted = measure_text(text, &Limits::default());
        assert_eq!((counted.tokens, counted.nesting), (14, 2));
    }

    #[test]
    fn depth_aliases_directives_and_operations_are_bounded() {
        refused(&format!("{{ {} x {} }}", "a {".repeat(15), "}".repeat(15)), "LIMIT", "15 fields below");
        let many: String = (0..31).map(|n| format!("a{n}: x ")).collect();
        refused(&format!("{{ {many} }}"), "LIMIT", "30 aliases");
        refused(&format!("{{ {} }}", "x @include(if: true) ".repeat(21)), "LIMIT", "20 directives");
        let operations: String = (0..11).map(|n| format!("query Q{n} {{ x }} ")).collect();
        refused(&operations, "LIMIT", "10 operations");
    }

    #[test]
    fn depth_counts_through_fragments() {
        let nine = format!("{} x {}", "a {".repeat(8), "}".repeat(8));
        refused(
            &format!("{{ b {{ {} ...F {} }} }} fragment F on T {{ {nine} }}", "c {".repeat(6), "}".repeat(6)),
            "LIMIT",
            "15 fields",
        );
    }

    #[test]
    fn a_page_multiplies_what_it_holds() {
        let cost = |query: &str, variables| with(query, variables).expect("admitted").cost;
        assert_eq!(cost("{ incidents(first: 100) { nodes { id number } } }", serde_json::json!({})), 1 + 100 * 3);
        let page = "query Q($n: Int = 7) { incidents(last: $n) { nodes { id } } }";
        assert_eq!(cost(page, serde_json::json!({})), 1 + 7 * 2, "the variable's default");
        assert_eq!(cost(page, serde_json::json!({ "n": 20 })), 1 + 20 * 2);
        assert_eq!(cost("{ incidents { edges { node { id } } } }", serde_json::json!({})), 1 + 50 * 3, "no size given");
        let hidden = "{ incidents { ...P } } fragment P on C { nodes { id } }";
        assert_eq!(cost(hidden, serde_json::json!({})), 1 + 50 * 2, "nor seen at once");
        let these = "query Q($ids: [ID!]!) { nodes(ids: $ids) { id } }";
        assert_eq!(cost(these, serde_json::json!({ "ids": ["a", "b", "c"] })), 1 + 3, "as many as are named");
        assert_eq!(cost("{ nodes(ids: [\"a\", \"b\"]) { id } }", serde_json::json!({})), 1 + 2);
    }

    #[test]
    fn a_thing_of_one_of_several_types_costs_what_the_dearest_does() {
        let cost = |query: &str| judge(query).expect("admitted").cost;
        assert_eq!(cost("{ node { id ... on A { a b c } ... on B { a } ...C } } fragment C on B { b }"), 1 + 1 + 3);
        assert_eq!(cost("{ node { ... { a } ... on B { b } ...C } } fragment C on B { c d }"), 1 + 1 + 3);
    }

    #[test]
    fn lists_without_pages_count_as_well() {
        let cost = |query: &str| judge(query).expect("admitted").cost;
        assert_eq!(cost("{ users { name } }"), 1 + 100);
        assert_eq!(cost("{ viewer { tags } }"), 2, "a name of a list that holds nothing here");
        assert_eq!(cost("{ comment { html } }"), 1 + 20, "Markdown is rendered");
        let flood = "query Q($ids: [ID!]!) { nodes(ids: $ids) { ... on Incident { alerts(first: 100) { nodes { entities \
                     { kind value verdict } } } } } }";
        let fifty = serde_json::json!({ "ids": vec!["x"; 50] });
        assert!(with(flood, fifty).is_err(), "fifty incidents of a hundred alerts of hundreds of entities");
    }

    #[test]
    fn a_page_of_a_hundred_rows_with_two_nested_pages_passes_and_three_levels_do_not() {
        let fields: String = (0..40).map(|n| format!("f{n} ")).collect();
        let nested = "(first: 20) { nodes { a b c d e f g h i } }";
        let page = format!("{{ incidents(first: 100) {{ nodes {{ {fields} alerts{nested} comments{nested} }} }} }}");
        assert_eq!(judge(&page).expect("admitted").cost, 1 + 100 * (1 + 40 + 2 * (1 + 20 * 10)));
        let deep = "{ incidents(first: 100) { nodes { alerts(first: 100) { nodes { entities(first: 100) { nodes { id } } } } } } }";
        refused(deep, "LIMIT", "50000 fields in the answer");
    }

    #[test]
    fn a_missing_variable_is_told_before_anything_runs() {
        refused("query Q($id: ID!) { node(id: $id) { id } }", "INVALID", "$id of type ID! needs a value");
        assert!(with("query Q($id: ID!) { node(id: $id) { id } }", serde_json::json!({ "id": null })).is_err());
        assert!(judge("query Q($id: ID! = \"1\", $b: Int) { node(id: $id, b: $b) { id } }").is_ok());
    }

    #[test]
    fn the_operation_is_chosen_by_name() {
        let two = "query A { a } mutation B { b }";
        refused(two, "INVALID", "several operations");
        let chosen = |name| admit(two, Some(name), &Variables::default(), &Limits::default());
        assert_eq!(chosen("B").expect("there is a B").operation, OperationType::Mutation);
        assert!(chosen("C").is_err());
        assert!(admit("{ a }", Some("A"), &Variables::default(), &Limits::default()).is_err());
    }

    fn root_of(query: &str) -> Result<(String, usize), ServerError> {
        let document = judge(query)?.document;
        let operation = document.operations.iter().next().expect("an operation").1;
        match &operation.node.selection_set.node.items[..] {
            [Positioned { node: Selection::Field(field), .. }] => {
                Ok((field.node.name.node.to_string(), document.fragments.len()))
            }
            other => panic!("not one field: {other:?}"),
        }
    }

    #[test]
    fn a_subscriptions_root_field_is_taken_out_of_its_fragments() {
        let plain = ("queue".to_owned(), 0);
        assert_eq!(root_of("subscription { queue { id } }"), Ok(plain.clone()));
        assert_eq!(root_of("subscription { ... { queue { id } } }"), Ok(plain.clone()));
        assert_eq!(root_of("subscription { ... on Subscription { queue { id } } }"), Ok(plain.clone()));
        let spread =
            "subscription { ...A } fragment A on Subscription { ...B } fragment B on Subscription { queue { id } }";
        assert_eq!(root_of(spread), Ok(plain));
        let kept = "subscription { ...A } fragment A on Subscription { queue { ...C } } fragment C on Row { id }";
        assert_eq!(root_of(kept), Ok(("queue".to_owned(), 1)), "a fragment below the root stays");
    }

    #[test]
    fn a_subscription_has_one_root_field() {
        refused("subscription { a b }", "INVALID", "one root field");
        refused("subscription { x: a y: a }", "INVALID", "one root field");
        refused("subscription { a(n: 1) a(n: 2) }", "INVALID", "one root field");
        refused(
            "subscription { ...A ...B } fragment A on Subscription { a } fragment B on Subscription { b }",
            "INVALID",
            "one root",
        );
        refused("subscription { __typename }", "INVALID", "introspection");
        refused("subscription { t: __typename }", "INVALID", "introspection");
        refused("subscription { a @skip(if: false) }", "INVALID", "@skip");
        refused("subscription { ... @include(if: true) { a } }", "INVALID", "@include");
        refused("subscription { ... on Query { a } }", "INVALID", "Query cannot be spread");
        assert_eq!(root_of("subscription { a { x } a { y } }"), Ok(("a".to_owned(), 0)), "the same field twice is one");
    }

    /// Text that looks like GraphQL: anything else is refused by the first token.
    fn documents() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "(",
            ")",
            "[",
            "]",
            "...",
            ":",
            "$",
            "@",
            "!",
            "=",
            "\"",
            "\"\"\"",
            "\\",
            "#",
            "\n",
            " ",
            ",",
            "a",
            "b",
            "F",
            "G",
            "on",
            "query",
            "mutation",
            "subscription",
            "fragment",
            "first",
            "10",
            "-1.5e3",
            "nodes",
            "skip",
            "null",
            "true",
            "\u{feff}",
            "é",
            "fragment F on T {",
            "subscription {",
            "...F ",
            "...G ",
            "a {",
            "a(first: 10) {",
            "query Q($n: Int = 3) {",
            "} fragment G on Subscription {",
        ]);
        prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.join(" "))
    }

    /// Selections of fields, inline fragments and spreads of `F0` to `F9`, some of which exist.
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
            drop(judge(&text));
        }

        #[test]
        fn any_document_is_judged_at_ten_visits_a_token(
            root in selections(),
            fragments in prop::collection::vec(selections(), 0..10),
            kind in prop::sample::select(vec!["query", "subscription"]),
        ) {
            let mut text = format!("{kind} {{ {root} }}");
            for (number, set) in fragments.iter().enumerate() {
                write!(text, " fragment F{number} on Subscription {{ {set} }}").expect("a string takes text");
            }
            let roomy = Limits { selections: usize::MAX, cost: usize::MAX, aliases: usize::MAX, ..Limits::default() };
            if let Ok(admitted) = admit(&text, None, &Variables::default(), &roomy) {
                prop_assert!(admitted.visits <= admitted.tokens * VISITS_PER_TOKEN, "{} visits", admitted.visits);
            }
        }
    }
}
