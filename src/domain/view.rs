//! Saved views: a filter and an order under a name, for their owner alone or for everybody, with a link that stays.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};

use super::account::{Actor, Role};
use super::filter::{IncidentFilter, IncidentOrder};
use super::{Error, Instant, Result, UserId, ViewId, text};

/// The longest name of a view, in characters: a tab's label, as long as a tag may be.
pub const NAME_CHARS_MAX: usize = 200;

/// The longest slug, in characters: a link that fits a line of a chat, and a label of DNS has 63.
pub const SLUG_CHARS_MAX: usize = 63;

/// The most views of one user: a list of them comes whole.
pub const VIEWS_PER_USER_MAX: usize = 100;

/// The most shared views of a desk: everybody's list shows them all, and nobody finds one among more.
pub const SHARED_VIEWS_MAX: usize = 500;

/// Who may see a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, Enum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "ViewVisibility")]
pub enum Visibility {
    /// Its owner; to everybody else it is not there.
    Private,
    /// Everybody.
    Shared,
}

/// What the link of a view names it by: `a` to `z`, `0` to `9` and single hyphens between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slug(String);

impl Slug {
    /// Reads a slug that somebody chose.
    pub fn parse(path: &str, slug: &str) -> Result<Self> {
        text::at_most(path, slug, SLUG_CHARS_MAX)?;
        let of_slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if slug.split('-').any(|part| part.is_empty() || !part.chars().all(of_slug)) {
            return Err(Error::invalid(path, "a slug has a to z and 0 to 9, and single hyphens between them"));
        }
        Ok(Self(slug.to_owned()))
    }

    /// The slug of a name: `Tier 2: Phishing` is `tier-2-phishing`. None of a name that has no such letter or digit.
    pub fn of_name(name: &str) -> Option<Self> {
        let mut slug = String::new();
        for word in text::fold(name).split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
            if !slug.is_empty() {
                slug.push('-');
            }
            slug.push_str(word);
        }
        slug.truncate(SLUG_CHARS_MAX);
        let slug = slug.trim_end_matches('-').to_owned();
        (!slug.is_empty()).then_some(Self(slug))
    }

    /// What was stored as one.
    pub fn stored(slug: String) -> Self {
        Self(slug)
    }

    /// Its letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A named filter and order.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedView {
    /// Its id.
    pub id: ViewId,
    /// What its link names it by; it never changes.
    pub slug: Slug,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: UserId,
    /// Who may see it.
    pub visibility: Visibility,
    /// Which incidents, as [`IncidentFilter::asked`]: `me` is whoever looks.
    pub filter: IncidentFilter,
    /// In which order.
    pub order: Vec<IncidentOrder>,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// What a view is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDraft {
    /// What people call it.
    pub name: String,
    /// What its link names it by.
    pub slug: Slug,
    /// Who may see it.
    pub visibility: Visibility,
    /// Which incidents.
    pub filter: IncidentFilter,
    /// In which order.
    pub order: Vec<IncidentOrder>,
}

/// What to change of a view. Absent fields stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewPatch {
    /// A name; the slug stays.
    pub name: Option<String>,
    /// Who may see it.
    pub visibility: Option<Visibility>,
    /// Which incidents.
    pub filter: Option<IncidentFilter>,
    /// In which order.
    pub order: Option<Vec<IncidentOrder>>,
}

/// When a user last visited a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// How many changes the log had then: what changed later is unread.
    pub offset: u64,
    /// When.
    pub at: Instant,
}

impl SavedView {
    /// A new view of its owner.
    pub fn new(id: ViewId, owner: UserId, draft: ViewDraft, now: Instant) -> Self {
        Self {
            id,
            slug: draft.slug,
            name: draft.name,
            owner,
            visibility: draft.visibility,
            filter: draft.filter,
            order: draft.order,
            created_at: now,
            updated_at: now,
        }
    }

    /// The same view as a patch wants it.
    pub fn with(self, patch: ViewPatch) -> Self {
        Self {
            name: patch.name.unwrap_or(self.name),
            visibility: patch.visibility.unwrap_or(self.visibility),
            filter: patch.filter.unwrap_or(self.filter),
            order: patch.order.unwrap_or(self.order),
            ..self
        }
    }

    /// Whether a user may see it: a private one is there for its owner alone, for no manager either.
    pub fn is_there_for(&self, user: UserId) -> bool {
        self.visibility == Visibility::Shared || self.owner == user
    }

    /// Refuses a caller who may see it but not change it.
    pub fn changeable_by(&self, actor: &Actor) -> Result<()> {
        if self.owner == actor.user.id || actor.user.role >= Role::Manager {
            return Ok(());
        }
        Err(Error::forbidden("only its owner or a manager may change a view"))
    }
}

/// Refuses a caller who may not show a view to others: whoever only reads keeps its views to itself.
pub fn may_share(actor: &Actor, visibility: Visibility) -> Result<()> {
    match visibility {
        Visibility::Private => Ok(()),
        Visibility::Shared => actor.require(Role::Responder, "share a view"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_makes_a_slug() {
        let slug = |name: &str| Slug::of_name(name).map(|slug| slug.0);
        assert_eq!(slug("Tier 2: Phishing!").as_deref(), Some("tier-2-phishing"));
        assert_eq!(slug("  Überfällig — Nacht ").as_deref(), Some("uberfallig-nacht"));
        assert_eq!(slug("夜勤"), None);
        let cut = slug(&format!("{} tail", "a".repeat(SLUG_CHARS_MAX - 1))).expect("a slug");
        assert_eq!(cut, "a".repeat(SLUG_CHARS_MAX - 1), "no hyphen at its end");
    }

    proptest! {
        #[test]
        fn a_made_slug_is_one_that_may_be_chosen(name in "\\PC{0,90}") {
            if let Some(slug) = Slug::of_name(&name) {
                prop_assert_eq!(Slug::parse("slug", slug.as_str()).expect("a slug"), slug);
            }
        }
    }
}
