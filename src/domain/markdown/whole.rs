//! Checks that a parsed comment still shows everything that was written. Markdown gives some lines a meaning of its
//! own. A log line `[4711]: denied` defines a link and is not shown, a cell too many in a table is dropped, and `4624.`
//! and `4634.` become 4624 and 4625.

use std::collections::HashMap;

use comrak::Node;
use comrak::nodes::{ListType, NodeList, NodeValue};

use super::super::text;

/// Returns whether the parsed text has every written letter, digit and sign of another script as often as the source,
/// in words, code, addresses or image texts. Each list must also show the numbers that its author wrote. ASCII
/// punctuation does not count, because Markdown consists of it.
pub(crate) fn says_all(markdown: &str, root: Node<'_>) -> bool {
    let mut said = Letters::default();
    for node in root.descendants() {
        match &node.data.borrow().value {
            NodeValue::Text(text) => said.add(text),
            NodeValue::Code(code) => said.add(&code.literal),
            NodeValue::CodeBlock(block) => [&block.info, &block.literal].into_iter().for_each(|text| said.add(text)),
            NodeValue::Link(link) | NodeValue::Image(link) => {
                [&link.url, &link.title].into_iter().for_each(|text| said.add(text));
            }
            NodeValue::TaskItem(task) => said.add(&task.symbol.map(String::from).unwrap_or_default()),
            NodeValue::List(list) if !counts_as_written(node, list) => return false,
            NodeValue::Item(item) if item.list_type == ListType::Ordered => said.add(&item.start.to_string()),
            _ => {}
        }
    }
    // The labels of addresses that are defined elsewhere. The rendered text shows their addresses instead.
    labels(markdown).for_each(|label| said.add(label));
    let mut written = Letters::default();
    written.add(&without_entities(markdown));
    written.0.iter().all(|(letter, times)| said.0.get(letter).is_some_and(|said| said >= times))
}

/// Counts how often each letter occurs.
#[derive(Default)]
struct Letters(HashMap<char, usize>);

impl Letters {
    fn add(&mut self, text: &str) {
        let counts = |c: &char| !c.is_ascii_punctuation() && !c.is_whitespace() && !c.is_control();
        for letter in text.chars().filter(counts) {
            *self.0.entry(letter).or_default() += 1;
        }
    }
}

/// Returns whether the numbers of a list ascend by one, or are all equal, as in a list whose author does not count.
fn counts_as_written(node: Node<'_>, list: &NodeList) -> bool {
    if list.list_type != ListType::Ordered {
        return true;
    }
    let numbers: Vec<usize> = node
        .children()
        .filter_map(|item| match &item.data.borrow().value {
            NodeValue::Item(item) => Some(item.start),
            _ => None,
        })
        .collect();
    let ascending = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    ascending || numbers.windows(2).all(|pair| pair[1] == pair[0])
}

/// Removes character references such as `&lt;` and `&#60;`, because their letters stand for another character.
fn without_entities(markdown: &str) -> String {
    const NAME_BYTES_MAX: usize = 32;
    let mut left = String::with_capacity(markdown.len());
    let mut rest = markdown;
    while let Some(at) = rest.find('&') {
        let (before, from) = rest.split_at(at);
        left.push_str(before);
        let name = from[1..].bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'#').count();
        let ends = name > 0 && name <= NAME_BYTES_MAX && from[1 + name..].starts_with(';');
        rest = &from[if ends { name + 2 } else { 1 }..];
    }
    left + rest
}

/// Returns the labels of a text's address definitions, and the labels of the links that use them: `[words][label]`. A
/// definition whose scheme is not allowed is a line of a log and does not count.
fn labels(markdown: &str) -> impl Iterator<Item = &str> {
    const SCHEMES: [&str; 4] = ["http://", "https://", "mailto:", "attachment:"];
    let mut defined: Vec<(String, &str)> = Vec::new();
    for line in markdown.lines() {
        let line = line.trim_start_matches([' ', '\t', '>', '-', '*', '+']);
        let Some((label, address)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]:")) else { continue };
        let address = address.trim_start().trim_start_matches('<').to_ascii_lowercase();
        let key = text::caseless(label);
        let is_first = defined.iter().all(|(known, _)| *known != key);
        if is_first && SCHEMES.iter().any(|scheme| address.starts_with(scheme)) {
            defined.push((key, label));
        }
    }
    let known: Vec<String> = defined.iter().map(|(key, _)| key.clone()).collect();
    let named = markdown.split("][").skip(1).filter_map(|rest| rest.split_once(']')).map(|(label, _)| label);
    let named = named.filter(move |label| known.contains(&text::caseless(label)));
    defined.into_iter().map(|(_, label)| label).chain(named)
}
