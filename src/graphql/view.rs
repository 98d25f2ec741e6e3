//! Saved views: a queue under a name, with a link that stays and what is unread in it.

use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::{Context, ID, InputObject, Json, MaybeUndefined, Object, SimpleObject};
use serde_json::Value;

use super::account::User;
use super::call::{Call, given, said};
use super::connection::{PageArgs, read_id};
use super::context::View;
use super::filter::{IncidentFilterInput, IncidentOrderInput, order};
use super::incident::IncidentConnection;
use super::loaders::VisitOf;
use super::page::Asked;
use super::searches::Search;
use crate::app::idempotency::Did;
use crate::domain::filter::{
    IncidentFilter, IncidentOrder as DomainOrder, IncidentOrderField, OrderDirection, QueueFilter,
};
use crate::domain::view::{NAME_CHARS_MAX, SavedView as DomainView, Slug, ViewDraft, ViewPatch, Visibility, Visit};
use crate::domain::{Error, Instant, Result, ViewId, text};

/// One key of a queue's order.
#[derive(SimpleObject)]
pub struct IncidentOrder {
    /// By what.
    field: IncidentOrderField,
    /// Which way.
    direction: OrderDirection,
}

impl From<DomainOrder> for IncidentOrder {
    fn from(order: DomainOrder) -> Self {
        Self { field: order.field, direction: order.direction }
    }
}

/// A named filter and order: its owner's alone, or everybody's.
pub struct SavedView {
    view: View,
    saved: Box<DomainView>,
    /// Whether what its filter looks for is counted.
    counted: AtomicBool,
}

impl SavedView {
    /// A saved view read through a view of the desk.
    pub fn new(view: View, saved: DomainView) -> Self {
        Self { view, saved: Box::new(saved), counted: AtomicBool::new(false) }
    }

    /// Its filter as the viewer means it. Its texts count as those that a request writes, once.
    fn queue(&self) -> Result<QueueFilter> {
        if !self.counted.load(Ordering::Relaxed) {
            self.view.searches().look_for(&self.saved.filter)?;
            self.counted.store(true, Ordering::Relaxed);
        }
        QueueFilter::resolve(&self.saved.filter, self.view.viewer())
    }

    async fn last_visit(&self) -> Result<Option<Visit>> {
        self.view.load(VisitOf(self.view.viewer().user.id, self.saved.id)).await
    }
}

/// A named filter and order: its owner's alone, or everybody's.
#[Object]
impl SavedView {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        self.saved.id.to_string().into()
    }

    /// What its link names it by. It stays when the view is renamed.
    async fn slug(&self) -> &str {
        self.saved.slug.as_str()
    }

    /// What people call it.
    async fn name(&self) -> &str {
        &self.saved.name
    }

    /// Whose it is. The owner and managers may change it.
    async fn owner(&self) -> Result<User> {
        let owner = self.view.load(self.saved.owner).await?;
        owner.map(User).ok_or_else(|| Error::fault("reading the owner of a view", "it is missing"))
    }

    /// Who may see it.
    async fn visibility(&self) -> Visibility {
        self.saved.visibility
    }

    /// Its filter, in the words of `IncidentFilterInput`: defaults filled, texts folded. `me` stays `me`: in a shared view
    /// it is whoever looks.
    async fn filter(&self) -> Json<Value> {
        Json(self.saved.filter.echo())
    }

    /// Its order; the first key decides first.
    async fn order_by(&self) -> Vec<IncidentOrder> {
        self.saved.order.iter().copied().map(IncidentOrder::from).collect()
    }

    /// The path that opens its queue on this desk: the wall under it.
    async fn link(&self) -> String {
        format!("/wall?view={}", self.saved.slug.as_str())
    }

    /// Its queue, page by page, as `incidents` gives it under the same filter and order. Pages have at most 100 items.
    async fn incidents(
        &self,
        #[graphql(desc = "So many from the start of the list; at most 100, and 50 where no size is given.")]
        first: Option<i32>,
        #[graphql(desc = "Beyond this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "So many from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor of the same list.")] before: Option<String>,
    ) -> Result<IncidentConnection> {
        let args = PageArgs { first, after, last, before };
        super::incident::queue(&self.view, self.queue()?, self.saved.order.clone(), args, Asked::ALL).await
    }

    /// How many incidents of its queue have changed since the caller's last visit, exactly; all of them before the first.
    async fn unread_count(&self) -> Result<u64> {
        let queue = self.queue()?;
        self.view.searches().spend(Search::Count, &queue)?;
        let (app, visit) = (self.view.app(), self.last_visit().await?);
        match visit {
            Some(visit) => app.unread_count(self.view.at().await?, &queue, visit.offset).await,
            None => app.queue_count(self.view.at().await?, &queue).await,
        }
    }

    /// When the caller last visited it, if ever.
    async fn last_visited_at(&self) -> Result<Option<Instant>> {
        Ok(self.last_visit().await?.map(|visit| visit.at))
    }

    /// When it was made.
    async fn created_at(&self) -> Instant {
        self.saved.created_at
    }

    /// When it was last changed.
    async fn updated_at(&self) -> Instant {
        self.saved.updated_at
    }
}

/// The views that the viewer may see, by name.
pub async fn list(view: &View) -> Result<Vec<SavedView>> {
    let mut views = view.reader().await?.views_for(view.viewer().user.id).await?;
    views.sort_by_cached_key(|saved| (text::fold(&saved.name), saved.id));
    Ok(views.into_iter().map(|saved| SavedView::new(view.clone(), saved)).collect())
}

/// The view of this id or slug, or a refusal.
pub async fn find(view: &View, id: Option<&ID>, slug: Option<&str>) -> Result<SavedView> {
    let reader = view.reader().await?;
    let (found, missing) = match (id, slug) {
        (Some(id), None) => {
            let id = view_id("id", id)?;
            (reader.views(&[id]).await?.pop(), Error::not_found("view", id).at("id"))
        }
        (None, Some(slug)) => {
            text::refuse_nul("slug", slug)?;
            (reader.view_by_slug(slug).await?, Error::not_found("view", slug).at("slug"))
        }
        _ => return Err(Error::invalid("id", "a view is named by its id or its slug, one of the two")),
    };
    let seen = found.filter(|saved| saved.is_there_for(view.viewer().user.id)).ok_or(missing)?;
    Ok(SavedView::new(view.clone(), seen))
}

/// Reads the id of a view.
pub fn view_id(path: &str, id: &ID) -> Result<ViewId> {
    read_id(path, id, ViewId::WORD, ViewId::parse)
}

/// A view to save.
#[derive(Debug, InputObject)]
pub struct CreateViewInput {
    /// What people call it: at most 200 characters.
    name: String,
    /// What its link names it by, for good: `a` to `z`, `0` to `9` and single hyphens between them, at most 63. Made from
    /// the name where none is given. One that another view has is a `CONFLICT`.
    slug: Option<String>,
    /// Which incidents; the default queue where none is given. `me` stays `me`: in a shared view it is whoever looks.
    filter: Option<IncidentFilterInput>,
    /// Up to three keys, the first decides first; newest update first where none is given.
    order_by: Option<Vec<IncidentOrderInput>>,
    /// Who may see it. To share one takes a responder.
    #[graphql(default_with = "Visibility::Private")]
    visibility: Visibility,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl CreateViewInput {
    /// The view that it asks for.
    pub fn read(self) -> Result<ViewDraft> {
        let name = text::label("name", &self.name, NAME_CHARS_MAX)?;
        let slug = match self.slug {
            Some(slug) => Slug::parse("slug", &slug)?,
            None => Slug::of_name(&name)
                .ok_or_else(|| Error::invalid("slug", "the name has no letter a to z and no digit, give a slug too"))?,
        };
        Ok(ViewDraft {
            name,
            slug,
            visibility: self.visibility,
            filter: asked(self.filter.unwrap_or_default())?,
            order: order(self.order_by)?,
        })
    }
}

fn asked(filter: IncidentFilterInput) -> Result<IncidentFilter> {
    filter.read()?.asked()
}

/// What to change of a view. Absent fields stay.
#[derive(Debug, InputObject)]
pub struct UpdateViewInput {
    /// The view, by global id.
    pub view_id: ID,
    /// A new name; the slug and the link stay.
    name: MaybeUndefined<String>,
    /// Which incidents.
    filter: MaybeUndefined<IncidentFilterInput>,
    /// Up to three keys; none is the newest update first.
    order_by: MaybeUndefined<Vec<IncidentOrderInput>>,
    /// Who may see it. Made private, it is nobody else's default any more.
    visibility: MaybeUndefined<Visibility>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl UpdateViewInput {
    /// The view, and what to change of it.
    pub fn read(self) -> Result<(ViewId, ViewPatch)> {
        let name = given("name", self.name)?.map(|name| text::label("name", &name, NAME_CHARS_MAX)).transpose()?;
        let patch = ViewPatch {
            name,
            visibility: given("visibility", self.visibility)?,
            filter: given("filter", self.filter)?.map(asked).transpose()?,
            order: given("orderBy", self.order_by)?.map(|keys| order(Some(keys))).transpose()?,
        };
        Ok((view_id("viewId", &self.view_id)?, patch))
    }
}

/// The view to delete.
#[derive(Debug, InputObject)]
pub struct DeleteViewInput {
    /// The view, by global id.
    pub view_id: ID,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The view to begin with.
#[derive(Debug, InputObject)]
pub struct SetDefaultViewInput {
    /// The view, by global id; null clears it. It must be given.
    view_id: MaybeUndefined<ID>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl SetDefaultViewInput {
    /// The view, if any.
    pub fn read(self) -> Result<Option<ViewId>> {
        said("viewId", self.view_id)?.map(|id| view_id("viewId", &id)).transpose()
    }
}

/// The view that was looked at.
#[derive(Debug, InputObject)]
pub struct VisitViewInput {
    /// The view, by global id.
    pub view_id: ID,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// What a mutation on a view did.
#[derive(SimpleObject)]
pub struct ViewPayload {
    /// The view after it.
    pub view: SavedView,
    /// Whether the view changed.
    pub changed: bool,
    /// What the client called it.
    pub client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    pub replayed: bool,
}

impl ViewPayload {
    /// What a command answers.
    pub fn new(ctx: &Context<'_>, did: Did<DomainView>, changed: bool, call: Call) -> Result<Self> {
        let view = SavedView::new(View::fresh(ctx)?, did.done);
        Ok(Self { view, changed, client_mutation_id: call.client_mutation_id, replayed: did.replayed })
    }
}

/// What deleting a view did.
#[derive(SimpleObject)]
pub struct DeleteViewPayload {
    /// The view that is gone.
    pub deleted_id: ID,
    /// What the client called it.
    pub client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    pub replayed: bool,
}

/// What setting the view to begin with did.
#[derive(SimpleObject)]
pub struct DefaultViewPayload {
    /// The view that the caller begins with; null where it has none.
    pub default_view: Option<SavedView>,
    /// What the client called it.
    pub client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    pub replayed: bool,
}
