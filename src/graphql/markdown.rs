//! Markdown by a stranger, as HTML that is safe to show and cheap to make.

use std::sync::LazyLock;

use ammonia::Builder;
use comrak::{Arena, format_html, parse_document};
use tokio::sync::Semaphore;

use crate::domain::markdown::{MARKDOWN, nests_too_deep, resolve_attachments};
use crate::domain::{Error, Result};

static CLEAN: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut clean = Builder::default();
    // The boxes of a task list; nothing else can be put in, and none can be ticked.
    clean.add_tags(["input"]).add_tag_attributes("input", ["checked"]);
    clean.set_tag_attribute_value("input", "type", "checkbox").set_tag_attribute_value("input", "disabled", "");
    // An address that was taken for unsafe is left empty, and would lead to the page that shows the comment.
    clean.attribute_filter(|_, name, value| match name {
        "href" | "src" if value.is_empty() => None,
        _ => Some(value.into()),
    });
    clean
});

/// So many texts are rendered at once: the dearest of 30,000 characters keeps a core busy for a good part of a second, and
/// the other cores are for the desk.
const RENDERINGS: usize = 2;

static RENDERING: Semaphore = Semaphore::const_new(RENDERINGS);

/// Markdown as safe HTML, rendered where it holds up nobody but others who wait for HTML.
///
/// Rendered without raw HTML, then cleaned by an allow-list, so that a hole in one is closed by the other.
pub async fn to_html(markdown: String) -> Result<String> {
    let _turn = RENDERING.acquire().await.map_err(|error| Error::fault("rendering a comment", error))?;
    let rendered = tokio::task::spawn_blocking(move || render(&markdown)).await;
    rendered.map_err(|error| Error::fault("rendering a comment", error))
}

fn render(markdown: &str) -> String {
    let arena = Arena::new();
    let root = parse_document(&arena, markdown, &MARKDOWN);
    let mut html = String::with_capacity(markdown.len() * 2);
    resolve_attachments(root);
    if nests_too_deep(root) || format_html(root, &MARKDOWN, &mut html).is_err() {
        return format!("<pre>{}</pre>", ammonia::clean_text(markdown));
    }
    CLEAN.clean(&html).to_string()
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn formatting_links_and_images_are_kept() {
        let html = render(
            "**contained** [ticket](https://itsm.example/4411) ![shot](https://files.example/a.png)\n\n| a |\n|-|\n| b |",
        );
        assert!(html.contains("<strong>contained</strong>"), "{html}");
        assert!(html.contains("href=\"https://itsm.example/4411\""), "{html}");
        assert!(html.contains("<img src=\"https://files.example/a.png\""), "{html}");
        assert!(html.contains("<table>"), "{html}");
    }

    #[test]
    fn an_attachment_is_shown_from_where_it_is_served() {
        let html = render("![prompt](attachment:019ab3c0-0000-7000-8000-000000000001) ![none](attachment:1)");
        assert!(html.contains("<img src=\"/attachments/019ab3c0-0000-7000-8000-000000000001\""), "{html}");
        assert_eq!(html.matches("src=").count(), 1, "{html}");
    }

    #[test]
    fn a_list_of_tasks_shows_its_boxes() {
        let html = render("- [x] isolate host\n- [ ] reset password");
        assert_eq!(html.matches("type=\"checkbox\"").count(), 2, "{html}");
        assert_eq!(html.matches("checked=\"\"").count(), 1, "{html}");
        assert_eq!(html.matches("disabled=\"\"").count(), 2, "{html}");
    }

    #[test]
    fn nothing_in_a_comment_can_act() {
        for evil in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[go](javascript:alert(1))",
            "[go](JaVaScRiPt:alert(1))",
            "<a href=\"data:text/html,<script>alert(1)</script>\">x</a>",
            "<iframe src=\"https://evil.example\"></iframe>",
            "![x](javascript:alert(1))",
            "<svg/onload=alert(1)>",
            "<input type=text name=password>",
        ] {
            let html = render(evil).to_lowercase();
            let signs = ["<script", "onerror=", "href=", "src=", "data:text", "<iframe", "<svg", "<input"];
            for sign in signs {
                assert!(!html.contains(sign), "{evil} became {html}");
            }
        }
    }

    #[test]
    fn what_nests_too_deep_is_shown_as_typed() {
        let quotes = "> ".repeat(15_000);
        assert_eq!(render(&quotes), format!("<pre>{}</pre>", "&gt;&#32;".repeat(15_000)));
        assert!(render(&format!("{}deep", "> ".repeat(10))).contains("<blockquote>"));
    }
}
