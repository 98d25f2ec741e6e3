//! The rules for Markdown: which attachments a text shows, which addresses a link may have, and when a text is not
//! rendered as Markdown.

mod safe;
mod whole;

use std::sync::LazyLock;

use comrak::nodes::NodeValue;
use comrak::{Arena, Node, Options, parse_document};

use super::AttachmentId;

pub(crate) use safe::make_safe;
pub(crate) use whole::says_all;

/// How deep blocks and marks may nest. A deeper text is shown as it was typed. Rendering and cleaning take time with
/// the square of the depth: a comment of 30,000 characters can nest 15,000 quotes and take a second. Nobody reads
/// beyond a handful of levels.
pub(crate) const NESTING_MAX: usize = 32;

/// The Markdown dialect, for these rules and for rendering.
pub(crate) static MARKDOWN: LazyLock<Options<'static>> = LazyLock::new(|| {
    let mut options = Options::default();
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.table = true;
    options.extension.tasklist = true;
    options.render.hardbreaks = true;
    options
});

/// The scheme of an image address that names an attachment by its global id.
const SCHEME: &str = "attachment:";

/// Returns whether an image address has the attachment scheme. Schemes are compared without case.
fn is_meant(url: &str) -> bool {
    url.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Returns the image addresses of a text that have the attachment scheme, in the order of the text. Each is the global
/// id of an attachment, or names nothing.
///
/// A text of 30,000 characters takes at most 20 ms, and microseconds if it has no image.
pub(crate) fn attachment_addresses(markdown: &str) -> Vec<String> {
    // Every image begins with these two characters.
    if !markdown.contains("![") {
        return Vec::new();
    }
    let arena = Arena::new();
    let root = parse_document(&arena, markdown, &MARKDOWN);
    if nests_too_deep(root) {
        return Vec::new();
    }
    let addresses = root.descendants().filter_map(|node| match &node.data.borrow().value {
        NodeValue::Image(image) if is_meant(&image.url) => Some(image.url.clone()),
        _ => None,
    });
    addresses.collect()
}

/// Returns the attachments that a text shows, in the order of the text, each once.
pub(crate) fn attachments(markdown: &str) -> Vec<AttachmentId> {
    let mut ids = Vec::new();
    for id in attachment_addresses(markdown).iter().filter_map(|address| AttachmentId::parse(address)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// Returns whether a text nests so deep that it is shown as it was typed.
pub(crate) fn nests_too_deep(root: Node<'_>) -> bool {
    let mut level = vec![root];
    for _ in 0..=NESTING_MAX {
        level = level.into_iter().flat_map(|node| node.children()).collect();
        if level.is_empty() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "attachment:019ab3c0-0000-7000-8000-000000000001";

    #[test]
    fn an_image_is_found_however_it_is_written() {
        for text in [
            format!("![sign-in prompt]({ID})"),
            format!("> - **![a]({ID} \"title\")**"),
            format!("![prompt][proof]\n\n[proof]: {ID}"),
            format!("![a]({})", ID.replace(':', "&#58;")),
            format!("![a]({})", ID.replace(':', "\\:")),
        ] {
            assert_eq!(attachments(&text), [AttachmentId::parse(ID).expect("an id")], "{text}");
        }
    }

    #[test]
    fn what_shows_no_image_names_none() {
        for text in [
            format!("[a link]({ID})"),
            format!("`![a]({ID})`"),
            format!("\\![a]({ID})"),
            format!("{}![a]({ID})", "> ".repeat(NESTING_MAX + 1)),
            "![a](https://files.example/a.png)".to_owned(),
        ] {
            assert_eq!(attachment_addresses(&text), [""; 0], "{text}");
        }
    }

    #[test]
    fn an_address_that_is_no_id_is_meant_for_an_attachment_all_the_same() {
        assert_eq!(attachment_addresses("![a](ATTACHMENT:1) ![b](attachment:)"), ["ATTACHMENT:1", "attachment:"]);
        assert_eq!(attachments("![a](ATTACHMENT:1)"), []);
    }
}
