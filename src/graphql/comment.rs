//! Comments: Markdown in, safe HTML out.

use std::sync::LazyLock;

use async_graphql::{ID, Object, SimpleObject};
use comrak::Options;

use super::account::Actor;
use super::context::{HistoryOf, View};
use super::incident::Incident;
use crate::domain::comment::Comment as DomainComment;
use crate::domain::{Error, Instant, Result};

/// A comment on an incident.
pub struct Comment {
    /// Where its history and incident are read.
    pub view: View,
    /// The comment.
    pub comment: DomainComment,
}

/// A former or present text of a comment.
#[derive(SimpleObject)]
pub struct CommentRevision {
    /// The incident's version that set it.
    version: u64,
    /// Markdown.
    body: String,
    /// When it was set.
    at: Instant,
    /// Who set it.
    by: Actor,
}

#[Object]
impl Comment {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        self.comment.id.to_string().into()
    }

    /// The incident it is written on.
    async fn incident(&self) -> Result<Incident> {
        let incident = self.view.incident(self.comment.incident).await?;
        let incident = incident.ok_or_else(|| Error::not_found("incident", self.comment.incident))?;
        Ok(Incident::new(self.view.clone(), incident))
    }

    /// What was written: Markdown, at most 30,000 characters. Empty once it is deleted.
    async fn body(&self) -> &str {
        &self.comment.body
    }

    /// The same as HTML that is safe to show: no script, no event handler, no `javascript:`.
    async fn html(&self) -> String {
        to_html(&self.comment.body)
    }

    /// Who wrote it.
    async fn author(&self) -> Actor {
        self.comment.author.clone().into()
    }

    /// When it was written.
    async fn created_at(&self) -> Instant {
        self.comment.created_at
    }

    /// When it was last edited, if ever.
    async fn edited_at(&self) -> Option<Instant> {
        self.comment.edited_at
    }

    /// When it was deleted, if it was.
    async fn deleted_at(&self) -> Option<Instant> {
        self.comment.deleted_at
    }

    /// Every text it has had, oldest first.
    async fn history(&self) -> Result<Vec<CommentRevision>> {
        let history = self.view.load(HistoryOf(self.comment.id)).await?.unwrap_or_default();
        Ok(history
            .into_iter()
            .map(|revision| CommentRevision {
                version: revision.version,
                body: revision.body,
                at: revision.at,
                by: revision.by.into(),
            })
            .collect())
    }
}

static MARKDOWN: LazyLock<Options<'static>> = LazyLock::new(|| {
    let mut options = Options::default();
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.table = true;
    options.extension.tasklist = true;
    options.render.hardbreaks = true;
    options
});

/// Markdown as safe HTML: rendered without raw HTML, then cleaned by an allow-list, so that a hole in one is closed by the
/// other.
fn to_html(markdown: &str) -> String {
    ammonia::clean(&comrak::markdown_to_html(markdown, &MARKDOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_links_and_images_are_kept() {
        let html = to_html(
            "**contained** [ticket](https://itsm.example/4411) ![shot](https://files.example/a.png)\n\n| a |\n|-|\n| b |",
        );
        assert!(html.contains("<strong>contained</strong>"), "{html}");
        assert!(html.contains("href=\"https://itsm.example/4411\""), "{html}");
        assert!(html.contains("<img src=\"https://files.example/a.png\""), "{html}");
        assert!(html.contains("<table>"), "{html}");
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
        ] {
            let html = to_html(evil).to_lowercase();
            for sign in ["<script", "onerror=", "href=\"javascript", "src=\"javascript", "data:text", "<iframe", "<svg"]
            {
                assert!(!html.contains(sign), "{evil} became {html}");
            }
        }
    }
}
