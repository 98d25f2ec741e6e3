//! Untrusted Markdown rendered as HTML that is safe to show and cheap to make.
//!
//! Everything that was written is shown: raw HTML as text, and a text that Markdown would leave out as it was typed.
//! Nothing is fetched from another host, and a link shows the host that it leads to.

use std::collections::HashSet;
use std::sync::LazyLock;

use ammonia::Builder;
use comrak::{Arena, format_html, parse_document};
use tokio::sync::Semaphore;

use crate::domain::markdown::{MARKDOWN, make_safe, nests_too_deep, says_all};
use crate::domain::{Error, Result};

static CLEAN: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut clean = Builder::default();
    // Checkboxes of a task list. No other input is allowed, and all of them are disabled.
    clean.add_tags(["input"]).add_tag_attributes("input", ["checked"]);
    clean.set_tag_attribute_value("input", "type", "checkbox").set_tag_attribute_value("input", "disabled", "");
    clean.url_schemes(HashSet::from(["http", "https", "mailto"]));
    clean.link_rel(Some("noopener noreferrer nofollow")).set_tag_attribute_value("a", "class", "external");
    // The class of `code` holds the language of the code.
    clean.add_tag_attributes("code", ["class"]);
    // Images come only from this server, and links lead only to other hosts.
    clean.attribute_filter(|tag, name, value| match name {
        "class" if tag == "code" && !value.starts_with("language-") => None,
        "src" if !value.starts_with("/attachments/") => None,
        "href" if !value.contains(':') => None,
        _ => Some(value.into()),
    });
    clean
});

/// How many texts are rendered at once. The most expensive text of 30,000 characters keeps a core busy for a good part
/// of a second, and the other cores are for the rest of the desk.
const RENDERINGS: usize = 2;

static RENDERING: Semaphore = Semaphore::const_new(RENDERINGS);

/// Renders Markdown as safe HTML, on a blocking thread, so that it delays only other renderings.
///
/// The renderer escapes raw HTML, then an allow-list cleans its output. If either has a hole, the other still protects.
pub(super) async fn to_html(markdown: String) -> Result<String> {
    let _turn = RENDERING.acquire().await.map_err(|error| Error::fault("rendering a comment", error))?;
    let rendered = tokio::task::spawn_blocking(move || render(&markdown)).await;
    rendered.map_err(|error| Error::fault("rendering a comment", error))
}

fn render(markdown: &str) -> String {
    let arena = Arena::new();
    let root = parse_document(&arena, markdown, &MARKDOWN);
    let mut html = String::with_capacity(markdown.len() * 2);
    if nests_too_deep(root) {
        return as_typed(markdown);
    }
    make_safe(&arena, root, markdown);
    if !says_all(markdown, root) || format_html(root, &MARKDOWN, &mut html).is_err() {
        return as_typed(markdown);
    }
    CLEAN.clean(&html).to_string()
}

fn as_typed(markdown: &str) -> String {
    format!("<pre>{}</pre>", ammonia::clean_text(markdown))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::render;

    /// Returns the text of some HTML, with the addresses and the texts of its images.
    fn shown(html: &str) -> String {
        text_of(html, &["href=\"", "title=\"", "alt=\"", "src=\"", "class=\"language-"])
    }

    /// Returns the text of some HTML, with the values of these attributes.
    fn text_of(html: &str, attributes: &[&str]) -> String {
        let mut shown = String::new();
        let mut rest = html;
        while let Some((text, tag)) = rest.split_once('<') {
            shown.push_str(text);
            let (tag, behind) = tag.split_once('>').expect("a whole tag");
            for attribute in attributes {
                let value = tag.split_once(attribute).and_then(|(_, value)| value.split_once('"'));
                shown.push_str(value.map_or("", |(value, _)| value));
            }
            rest = behind;
        }
        shown.push_str(rest);
        let signs = [("&#32;", " "), ("&#10;", "\n"), ("&#13;", "\r"), ("&#9;", "\t"), ("&nbsp;", "\u{a0}")];
        let shown = signs.iter().fold(shown, |text, (name, sign)| text.replace(name, sign));
        let shown = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        let decimal =
            (33..127_u8).fold(shown, |text, code| text.replace(&format!("&#{code};"), &char::from(code).to_string()));
        decimal.replace("&amp;", "&")
    }

    #[test]
    fn formatting_and_links_are_kept() {
        let html = render("**contained** [ticket](https://itsm.example/4411)\n\n| a |\n|-|\n| b |");
        assert!(html.contains("<strong>contained</strong>"), "{html}");
        assert!(html.contains("href=\"https://itsm.example/4411\""), "{html}");
        assert!(html.contains("<table>"), "{html}");
    }

    #[test]
    fn raw_html_is_shown_as_text() {
        assert_eq!(render("SELECT * FROM a WHERE b<c AND d>e"), "<p>SELECT * FROM a WHERE b&lt;c AND d&gt;e</p>\n");
        for written in [
            "<Event><System><EventID>4624</EventID></System></Event>",
            "<Event xmlns=\"http://schemas.microsoft.com/win/2004/08/events/event\">\n  <System>\n    <EventID>4624</EventID>\n\n  </System>\n</Event>",
            "Nov 29 10:00:01 gw sshd[4711]: from=<root@corp.example> to=<evil@x.example>",
            "before <!-- a comment --> after",
            "<script>alert(1)</script>",
            "<![CDATA[ key = value ]]>",
            "<?xml version=\"1.0\"?>",
            "x <b>bold</b> y",
        ] {
            let html = render(written);
            let (all, typed): (String, String) = (text_of(&html, &[]), written.split_whitespace().collect());
            let all: String = all.split_whitespace().collect();
            assert!(all.contains(&typed), "{written} became {html}");
            assert!(!html.contains("<b>") && !html.contains("<script") && !html.contains("<Event"), "{html}");
        }
    }

    #[test]
    fn lines_that_markdown_takes_for_its_own_are_shown_as_typed() {
        for written in [
            "[4711]: denied",
            "[4711]: denied\n[4711]: denied",
            "[1]: https://unused.example/report",
            "| a |\n|-|\n| b | c |",
            "4624. logon\n4625. failure\n4634. logoff",
            "[a]: <> (b)",
        ] {
            assert_eq!(shown(&render(written)), written, "{}", render(written));
        }
        assert!(render("1. one\n1. two\n1. three").contains("<ol>"));
        assert!(render("3. one\n4. two").contains("<ol start=\"3\">"));
        assert!(render("see [the report][r]\n\n[r]: https://files.example/r").contains("<a "));
        assert!(render("&lt;b&gt; and &copy;").contains("&lt;b&gt; and ©"));
        let fence = render("```dropper.exe seen by night shift\ncode\n```");
        assert!(fence.contains("dropper.exe seen by night shift"), "{fence}");
    }

    #[test]
    fn an_image_of_another_host_is_a_link_that_says_so() {
        let html = render("![shot](https://files.example/a.png)");
        assert!(!html.contains("<img") && !html.contains("src="), "{html}");
        assert!(html.contains("image not loaded: shot \u{2197} files.example</a>"), "{html}");
        assert!(html.contains("href=\"https://files.example/a.png\""), "{html}");
        for address in ["data:image/png;base64,AAAA", "/logo.png", "//files.example/a.png", "file:///etc/passwd"] {
            let html = render(&format!("![shot]({address})"));
            assert!(!html.contains("<img") && !html.contains("<a ") && html.contains(address), "{html}");
        }
        let nested = render("[![shot](https://beacon.example/a.png)](https://itsm.example/1)");
        assert_eq!(nested.matches("<a ").count(), 1, "{nested}");
        assert!(!nested.contains("<img") && nested.contains("https://beacon.example/a.png"), "{nested}");
    }

    #[test]
    fn a_link_says_where_it_leads() {
        let html = render("[https://good.example/login](https://evil.example/login)");
        assert!(html.contains("good.example/login \u{2197} evil.example</a>"), "{html}");
        let html = render("[sign in](https://good.example@evil.example/)");
        assert!(html.contains("sign in \u{2197} evil.example</a>"), "{html}");
        assert!(html.contains("rel=\"noopener noreferrer nofollow\"") && html.contains("class=\"external\""), "{html}");
        let html = render("[а](https://аррӏе.com/)");
        assert!(html.contains("xn--"), "a host of lookalike letters shows itself: {html}");
        let html = render("https://itsm.example/4411 and <soc@corp.example>");
        assert!(
            html.contains(">https://itsm.example/4411 \u{2197}</a>") && html.contains(">soc@corp.example</a>"),
            "{html}"
        );
        let html = render("[\u{202e}moc.doog](https://evil.example/)");
        assert!(html.contains("<bdi>\u{202e}moc.doog</bdi> \u{2197} evil.example"), "{html}");
        for address in ["ftp://files.example/", "/graphql?query={viewer{id}}", "#top", "javascript:alert(1)", "x.html"]
        {
            let html = render(&format!("[go]({address})"));
            assert!(!html.contains("<a ") && html.contains("go ("), "{html}");
            assert!(shown(&html).contains(address), "{html}");
        }
    }

    #[test]
    fn an_attachment_is_shown_from_where_it_is_served() {
        let html = render("![prompt](attachment:019ab3c0-0000-7000-8000-000000000001) ![none](attachment:1)");
        assert!(
            html.contains("<img src=\"/attachments/019ab3c0-0000-7000-8000-000000000001\" alt=\"prompt\""),
            "{html}"
        );
        assert_eq!(html.matches("src=").count(), 1, "{html}");
    }

    #[test]
    fn a_list_of_tasks_shows_its_boxes() {
        let html = render("- [x] isolate host\n- [ ] reset password");
        assert_eq!(html.matches("type=\"checkbox\"").count(), 2, "{html}");
        assert_eq!(html.matches("checked=\"\"").count(), 1, "{html}");
        assert_eq!(html.matches("disabled=\"\"").count(), 2, "{html}");
    }

    /// Returns the tags of some HTML, in lower case.
    fn tags(html: &str) -> Vec<String> {
        html.split('<').skip(1).map(|tag| tag.split_once('>').expect("a whole tag").0.to_lowercase()).collect()
    }

    fn is_harmless(html: &str) -> bool {
        let names = |tag: &str| tag.split('"').step_by(2).collect::<String>();
        tags(html).iter().all(|tag| {
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
            let acts = ["script", "iframe", "svg", "object", "embed", "form", "style", "link", "meta", "base", "video"];
            let address = |attribute: &str| tag.split_once(attribute).map(|(_, value)| value);
            !acts.contains(&name)
                && !names(tag).contains(" on")
                && address(" src=\"").is_none_or(|value| value.starts_with("/attachments/"))
                && address(" href=\"").is_none_or(|value| {
                    ["http://", "https://", "mailto:"].iter().any(|scheme| value.starts_with(scheme))
                })
                && (name != "input" || tag.contains("disabled"))
        })
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
            "![x](https://evil.example/beacon.gif)",
            "<svg/onload=alert(1)>",
            "<input type=text name=password>",
            "[a](https://x.example \"\\\" onmouseover=alert(1) x=\\\"\")",
        ] {
            let html = render(evil);
            assert!(is_harmless(&html), "{evil} became {html}");
        }
    }

    #[test]
    fn what_nests_too_deep_is_shown_as_typed() {
        let quotes = "> ".repeat(15_000);
        assert_eq!(render(&quotes), format!("<pre>{}</pre>", "&gt;&#32;".repeat(15_000)));
        assert!(render(&format!("{}deep", "> ".repeat(10))).contains("<blockquote>"));
    }

    /// Generates texts from pieces of Markdown, HTML, logs and other text.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-zäß0-9漢🦀]{1,6}",
            "[ -~]{1,4}",
            Just("\n".to_owned()),
            Just("\n\n".to_owned()),
            prop::sample::select(vec![
                "<a",
                "<b>",
                "</b>",
                "<!--",
                "-->",
                "<![CDATA[",
                "]]>",
                "<?",
                "[",
                "](",
                ")",
                "]:",
                "![",
                "][",
                "**",
                "_",
                "`",
                "```",
                "~~~ ",
                "> ",
                "- ",
                "1. ",
                "7) ",
                "# ",
                "| ",
                "|-|\n",
                "[x] ",
                "https://e.example/",
                "mailto:",
                "www.e.example",
                "javascript:",
                "attachment:019ab3c0-0000-7000-8000-000000000001",
                "\\",
                "&lt;",
                "&",
                "\"",
                "'",
                "    ",
                "\t",
                "\u{202e}",
                "===",
                "---",
                "<https://e.example>",
                "[n]: ",
            ])
            .prop_map(str::to_owned),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn nothing_that_was_written_is_missing(markdown in pieces()) {
            let html = render(&markdown);
            prop_assert!(is_harmless(&html), "{html}");
            let mut all: Vec<char> = shown(&html).chars().collect();
            // Markdown may replace these signs: `&lt;` by a sign, a link label by its address, a number by its place in
            // a list.
            let lines = format!("{markdown}\n").replace('\t', " ");
            let all_count = !["&", "]:", ". ", ") ", ".\n", ")\n", "[x]"].iter().any(|mark| lines.contains(mark));
            let letter = |c: &char| c.is_alphanumeric() && (all_count || !c.is_ascii()) || *c == '🦀';
            for sign in markdown.chars().filter(letter) {
                let at = all.iter().position(|other| *other == sign);
                prop_assert!(at.is_some(), "{sign} of {markdown:?} is missing in {html}");
                all.swap_remove(at.expect("a place"));
            }
        }
    }
}
