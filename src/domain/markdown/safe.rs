//! Makes a parsed comment safe to show: raw HTML becomes text, and only links with allowed schemes stay links.

use std::borrow::Cow;

use comrak::nodes::{AstNode, NodeCodeBlock, NodeLink, NodeValue};
use comrak::{Arena, Node};
use url::Url;

use super::super::{AttachmentId, attachment};

/// The schemes that a link may have. Other schemes run programs, or lead into the page that shows the comment.
const SCHEMES: [&str; 3] = ["http", "https", "mailto"];

/// The text before the words of an image that is not shown. Its host would learn who reads the comment, and when.
const NOT_SHOWN: &str = "image not loaded: ";

/// The mark of a link that leaves the desk.
const LEAVES: &str = " \u{2197}";

/// The longest word behind a code fence that names a language, like `objective-c++`. A longer word is text.
const LANGUAGE_CHARS_MAX: usize = 20;

/// Makes a parsed text safe to show, and keeps everything that it says:
/// - raw HTML becomes text, because Markdown takes pasted log lines and XML for HTML;
/// - an image is shown only if it is an attachment; an image of another host becomes a link that says so;
/// - a link to another host shows that host; a link with a forbidden scheme becomes text, with its address behind it.
///
/// `markdown` is the text that was parsed.
pub(crate) fn make_safe<'a>(arena: &'a Arena<'a>, root: Node<'a>, markdown: &str) {
    let lines: Vec<&str> = markdown.lines().collect();
    let nodes: Vec<Node<'a>> = root.descendants().collect();
    for node in nodes {
        let value = node.data.borrow().value.clone();
        match value {
            NodeValue::HtmlInline(html) => set(node, NodeValue::Text(Cow::Owned(html))),
            NodeValue::HtmlBlock(html) => {
                let block = NodeCodeBlock { literal: html.literal, closed: true, ..NodeCodeBlock::default() };
                set(node, NodeValue::CodeBlock(Box::new(block)));
            }
            NodeValue::CodeBlock(block) if !block.info.is_empty() && !is_language(&block.info) => {
                let literal = format!("{}\n{}", block.info, block.literal);
                let block = NodeCodeBlock { info: String::new(), literal, ..*block };
                set(node, NodeValue::CodeBlock(Box::new(block)));
            }
            NodeValue::Link(link) => {
                // Logs write mail addresses in brackets.
                if begins_with_a_bracket(node, &lines) {
                    node.insert_before(text(arena, "<"));
                    node.insert_after(text(arena, ">"));
                }
                follow(arena, node, &link);
            }
            NodeValue::Image(image) => show(arena, node, &image),
            _ => {}
        }
    }
}

/// Returns whether an address was written in angle brackets, which Markdown removes: `<root@corp.example>`.
fn begins_with_a_bracket(node: Node<'_>, lines: &[&str]) -> bool {
    let start = node.data.borrow().sourcepos.start;
    let line = start.line.checked_sub(1).and_then(|line| lines.get(line));
    line.zip(start.column.checked_sub(1)).is_some_and(|(line, column)| line.as_bytes().get(column) == Some(&b'<'))
}

fn set(node: Node<'_>, value: NodeValue) {
    node.data.borrow_mut().value = value;
}

fn is_language(info: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '#' | '_' | '.');
    info.len() <= LANGUAGE_CHARS_MAX && info.chars().all(of_name)
}

/// Returns the URL of an address that a link may have; `None` for other addresses.
fn destination(address: &str) -> Option<Url> {
    Url::parse(address.trim()).ok().filter(|url| SCHEMES.contains(&url.scheme()))
}

/// Returns whether the node is inside of a link or an image. Links must not nest.
fn within_another(node: Node<'_>) -> bool {
    node.ancestors().skip(1).any(|above| matches!(above.data.borrow().value, NodeValue::Link(_) | NodeValue::Image(_)))
}

fn follow<'a>(arena: &'a Arena<'a>, node: Node<'a>, link: &NodeLink) {
    match destination(&link.url).filter(|_| !within_another(node)) {
        Some(url) => mark(arena, node, link, &url),
        None => unwrap(arena, node, link),
    }
}

fn show<'a>(arena: &'a Arena<'a>, node: Node<'a>, image: &NodeLink) {
    if let Some(id) = AttachmentId::parse(&image.url) {
        let image = NodeLink { url: attachment::url(id), title: image.title.clone() };
        set(node, NodeValue::Image(Box::new(image)));
        return;
    }
    node.prepend(text(arena, NOT_SHOWN));
    set(node, NodeValue::Link(Box::new(image.clone())));
    follow(arena, node, image);
}

/// Adds the real destination behind the words of a link, whatever the words say.
fn mark<'a>(arena: &'a Arena<'a>, node: Node<'a>, link: &NodeLink, url: &Url) {
    let words = words(node);
    let shown = words.trim();
    let is_address = shown == link.url || link.url.strip_prefix("http://") == Some(shown);
    let mark = match url.host_str() {
        _ if is_address => LEAVES.to_owned(),
        Some(host) => format!("{LEAVES} {host}"),
        // A mail address needs no mark if the link shows it as its text.
        None if url.path() == shown => String::new(),
        None => format!("{LEAVES} {}", url.path()),
    };
    // Characters in the words that change the direction of text must not affect the mark.
    if !words.is_ascii() {
        node.prepend(arena.alloc(AstNode::from(NodeValue::Raw("<bdi>".to_owned()))));
        node.append(arena.alloc(AstNode::from(NodeValue::Raw("</bdi>".to_owned()))));
    }
    if !mark.is_empty() {
        node.append(text(arena, &mark));
    }
    if link.title.is_empty() {
        set(node, NodeValue::Link(Box::new(NodeLink { url: link.url.clone(), title: url.to_string() })));
    }
}

/// Replaces a link that may not be followed by its words, and adds its address as text.
fn unwrap<'a>(arena: &'a Arena<'a>, node: Node<'a>, link: &NodeLink) {
    let children: Vec<Node<'a>> = node.children().collect();
    children.into_iter().for_each(|child| node.insert_before(child));
    let address = match link.title.as_str() {
        "" => link.url.clone(),
        title => format!("{} \"{title}\"", link.url),
    };
    if !address.is_empty() {
        node.insert_before(text(arena, &format!(" ({address})")));
    }
    node.detach();
}

fn text<'a>(arena: &'a Arena<'a>, text: &str) -> Node<'a> {
    arena.alloc(AstNode::from(NodeValue::Text(Cow::Owned(text.to_owned()))))
}

fn words(node: Node<'_>) -> String {
    let mut words = String::new();
    for node in node.descendants().skip(1) {
        match &node.data.borrow().value {
            NodeValue::Text(text) => words.push_str(text),
            NodeValue::Code(code) => words.push_str(&code.literal),
            NodeValue::HtmlInline(html) => words.push_str(html),
            NodeValue::SoftBreak | NodeValue::LineBreak => words.push(' '),
            _ => {}
        }
    }
    words
}
