//! Saved views: a named filter and order, private to the owner or shared with everybody, with a permanent link.

use async_graphql::Enum;
use sea_orm::{DeriveActiveEnum, EnumIter};

use super::account::{Actor, Role};
use super::filter::{IncidentFilter, IncidentOrder};
use super::{Error, Instant, Result, UserId, ViewId, text};

/// The longest name of a view, in characters: the label of a tab, as long as the longest tag.
pub const NAME_CHARS_MAX: usize = 200;

/// The longest slug, in characters. Such a link fits into a line of a chat; a DNS label has the same limit.
pub const SLUG_CHARS_MAX: usize = 63;

/// The most views of one user. The API lists them without pages.
pub const VIEWS_PER_USER_MAX: usize = 100;

/// The most shared views of a desk. Everybody's list shows all of them, and a longer list is of no use.
pub const SHARED_VIEWS_MAX: usize = 500;

/// The users who may see a saved view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, Enum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "ViewVisibility")]
pub enum Visibility {
    /// Only the owner sees the view. To all other users it does not exist.
    Private,
    /// Every user sees the view.
    Shared,
}

/// The name of a view in its link: `a` to `z`, `0` to `9`, and single hyphens between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slug(String);

impl Slug {
    /// Reads a slug that a user chose.
    pub fn parse(path: &str, slug: &str) -> Result<Self> {
        text::at_most(path, slug, SLUG_CHARS_MAX)?;
        let of_slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if slug.split('-').any(|part| part.is_empty() || !part.chars().all(of_slug)) {
            return Err(Error::invalid(path, "a slug has a to z and 0 to 9, and single hyphens between them"));
        }
        Ok(Self(slug.to_owned()))
    }

    /// Returns the slug of a name: `Tier 2: Phishing` gives `tier-2-phishing`. `None` if no such character remains.
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

    /// Wraps a slug that was read from the database, without a check.
    pub fn stored(slug: String) -> Self {
        Self(slug)
    }

    /// Returns the text of the slug.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A named filter and order.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedView {
    /// The id of the view.
    pub id: ViewId,
    /// The name in the view's link; it never changes.
    pub slug: Slug,
    /// The name that people see.
    pub name: String,
    /// The user who owns the view.
    pub owner: UserId,
    /// The users who may see the view.
    pub visibility: Visibility,
    /// The filter, as [`IncidentFilter::asked`] returns it: `me` is the user who opens the view.
    pub filter: IncidentFilter,
    /// The order of the incidents.
    pub order: Vec<IncidentOrder>,
    /// The time of creation.
    pub created_at: Instant,
    /// The time of the last change.
    pub updated_at: Instant,
}

/// The input for a new view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDraft {
    /// The name that people see.
    pub name: String,
    /// The name in the view's link.
    pub slug: Slug,
    /// The users who may see the view.
    pub visibility: Visibility,
    /// The filter.
    pub filter: IncidentFilter,
    /// The order of the incidents.
    pub order: Vec<IncidentOrder>,
}

/// The changes of a view. Absent fields stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewPatch {
    /// A new name; the slug stays.
    pub name: Option<String>,
    /// The users who may see the view.
    pub visibility: Option<Visibility>,
    /// A new filter.
    pub filter: Option<IncidentFilter>,
    /// A new order of the incidents.
    pub order: Option<Vec<IncidentOrder>>,
}

/// A user's last visit to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// How many changes the log had at that time. Later changes are unread.
    pub offset: u64,
    /// The time of the visit.
    pub at: Instant,
}

impl SavedView {
    /// Creates a view of this owner.
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

    /// Returns this view with the values of a patch.
    pub fn with(self, patch: ViewPatch) -> Self {
        Self {
            name: patch.name.unwrap_or(self.name),
            visibility: patch.visibility.unwrap_or(self.visibility),
            filter: patch.filter.unwrap_or(self.filter),
            order: patch.order.unwrap_or(self.order),
            ..self
        }
    }

    /// Returns whether a user may see the view. Only its owner sees a private view; managers do not.
    pub fn is_there_for(&self, user: UserId) -> bool {
        self.visibility == Visibility::Shared || self.owner == user
    }

    /// Refuses a caller that may see the view but not change it.
    pub fn changeable_by(&self, actor: &Actor) -> Result<()> {
        if self.owner == actor.user.id || actor.user.role >= Role::Manager {
            return Ok(());
        }
        Err(Error::forbidden("only its owner or a manager may change a view"))
    }
}

/// Refuses to share a view for a caller with the role reader. Readers have private views only.
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
