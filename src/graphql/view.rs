//! Saved views: a queue with a name, a stable link, and a count of its unread incidents.

use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::{ID, InputObject, MaybeUndefined, Object, OneofObject, SimpleObject};

use super::account::User;
use super::call::{Call, given, said};
use super::connection::{PageArgs, read_id};
use super::context::View;
use super::filter::{IncidentFilterInput, IncidentOrderInput, order};
use super::incident::IncidentConnection;
use super::loaders::VisitOf;
use super::page::RequestedPage;
use super::payload::{MutationReceipt, Payload};
use super::searches::Search;
use crate::domain::filter::{
    IncidentFilter, IncidentOrder as DomainOrder, IncidentOrderField, OrderDirection, QueueFilter,
};
use crate::domain::view::{NAME_CHARS_MAX, SavedView as DomainView, Slug, ViewDraft, ViewPatch, Visibility, Visit};
use crate::domain::{Error, Instant, Result, ViewId, text};

/// One key of the order of a queue.
#[derive(SimpleObject)]
pub(super) struct IncidentOrder {
    /// The field by which the queue is ordered.
    field: IncidentOrderField,
    /// The direction of the order.
    direction: OrderDirection,
}

impl From<DomainOrder> for IncidentOrder {
    fn from(order: DomainOrder) -> Self {
        Self { field: order.field, direction: order.direction }
    }
}

/// A saved view: a named filter and order of a queue. It is visible to its owner only, or shared with everybody.
pub(super) struct SavedView {
    view: View,
    saved: Box<DomainView>,
    /// Whether the texts of the filter already count against the limit of the request.
    counted: AtomicBool,
}

impl SavedView {
    /// Builds a saved view that is read through `view`.
    pub(super) fn new(view: View, saved: DomainView) -> Self {
        Self { view, saved: Box::new(saved), counted: AtomicBool::new(false) }
    }

    /// Resolves the filter for the viewer. Its texts count once against the limit of the request.
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

/// A saved view: a named filter and order of a queue. It is visible to its owner only, or shared with everybody.
#[Object]
impl SavedView {
    /// The global id of the view.
    pub(crate) async fn id(&self) -> ID {
        self.saved.id.to_string().into()
    }

    /// The name of the view in its link. It does not change when the view is renamed.
    async fn slug(&self) -> &str {
        self.saved.slug.as_str()
    }

    /// The display name of the view.
    async fn name(&self) -> &str {
        &self.saved.name
    }

    /// The user who owns the view. The owner may change the view; managers may change it while it is shared.
    async fn owner(&self) -> Result<User> {
        let owner = self.view.load(self.saved.owner).await?;
        owner.map(User).ok_or_else(|| Error::fault("reading the owner of a view", "it is missing"))
    }

    /// The visibility: who may see the view.
    async fn visibility(&self) -> Visibility {
        self.saved.visibility
    }

    /// The filter, with its defaults filled in and its texts folded. `me` is not resolved: in a shared view, `me` is
    /// the user who reads the view.
    async fn filter(&self) -> &IncidentFilter {
        &self.saved.filter
    }

    /// The order of the queue: up to three keys; the first key is compared first.
    async fn order_by(&self) -> Vec<IncidentOrder> {
        self.saved.order.iter().copied().map(IncidentOrder::from).collect()
    }

    /// The path on this server that opens the wall screen with the queue of the view.
    async fn link(&self) -> String {
        format!("/wall?view={}", self.saved.slug.as_str())
    }

    /// A page of the queue of the view, as `incidents` returns it for the same filter and order.
    async fn incidents(
        &self,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<IncidentConnection> {
        let args = PageArgs { first, after, last, before };
        super::incident::queue(&self.view, self.queue()?, self.saved.order.clone(), args, RequestedPage::ALL).await
    }

    /// The exact number of incidents in the queue that have changed since the caller's last visit. Before the first
    /// visit, all incidents count.
    async fn unread_count(&self) -> Result<u64> {
        let queue = self.queue()?;
        self.view.searches().spend(Search::Count, &queue)?;
        let (app, visit) = (self.view.app(), self.last_visit().await?);
        match visit {
            Some(visit) => app.unread_count(self.view.at().await?, &queue, visit.offset).await,
            None => app.queue_count(self.view.at().await?, &queue).await,
        }
    }

    /// When the caller last visited the view; null if never.
    async fn last_visited_at(&self) -> Result<Option<Instant>> {
        Ok(self.last_visit().await?.map(|visit| visit.at))
    }

    /// When the view was created.
    async fn created_at(&self) -> Instant {
        self.saved.created_at
    }

    /// When the view was last changed.
    async fn updated_at(&self) -> Instant {
        self.saved.updated_at
    }
}

/// Reads the views that the viewer may see, ordered by name.
pub(super) async fn list(view: &View) -> Result<Vec<SavedView>> {
    let mut views = view.reader().await?.views_for(view.viewer().user.id).await?;
    views.sort_by_cached_key(|saved| (text::fold(&saved.name), saved.id));
    Ok(views.into_iter().map(|saved| SavedView::new(view.clone(), saved)).collect())
}

/// Names a saved view in one of two ways.
#[derive(Debug, OneofObject)]
pub(super) enum ViewByInput {
    /// The global id of the view.
    Id(ID),
    /// The slug of the view, the last part of its link.
    Slug(String),
}

/// Reads the view with this id or slug. A view that is unknown, or private to somebody else, is `NOT_FOUND`.
pub(super) async fn find(view: &View, by: &ViewByInput) -> Result<SavedView> {
    let reader = view.reader().await?;
    let (found, missing) = match by {
        ViewByInput::Id(id) => {
            let id = view_id("by.id", id)?;
            (reader.views(&[id]).await?.pop(), Error::not_found("view", id).at("by.id"))
        }
        ViewByInput::Slug(slug) => {
            text::refuse_nul("by.slug", slug)?;
            (reader.view_by_slug(slug).await?, Error::not_found("view", slug.as_str()).at("by.slug"))
        }
    };
    let seen = found.filter(|saved| saved.is_there_for(view.viewer().user.id)).ok_or(missing)?;
    Ok(SavedView::new(view.clone(), seen))
}

/// Reads the id of a view.
pub(super) fn view_id(path: &str, id: &ID) -> Result<ViewId> {
    read_id(path, id, ViewId::WORD, ViewId::parse)
}

/// The input of `createView`.
#[derive(Debug, InputObject)]
pub(super) struct CreateViewInput {
    /// The display name of the view: at most 200 characters.
    name: String,
    /// The permanent name of the view in its link: `a` to `z`, `0` to `9` and single hyphens between them, at most 63
    /// characters. Without it, the slug is made from the name. A slug that another view has is a `CONFLICT`.
    slug: Option<String>,
    /// The filter of the view. Without it, the view shows the default queue. `me` is not resolved: in a shared view,
    /// `me` is the user who reads the view.
    filter: Option<IncidentFilterInput>,
    /// The order: up to three keys; the first key is compared first. Without keys, the newest update comes first.
    order_by: Option<Vec<IncidentOrderInput>>,
    /// The visibility: who may see the view. Only responders and managers may share a view.
    #[graphql(default_with = "Visibility::Private")]
    visibility: Visibility,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

impl CreateViewInput {
    /// Reads the view to create.
    pub(super) fn read(self) -> Result<ViewDraft> {
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

/// The input of `updateView`. A field that is absent stays as it is.
#[derive(Debug, InputObject)]
pub(super) struct UpdateViewInput {
    /// The global id of the view.
    pub view_id: ID,
    /// The new name: at most 200 characters. The slug and the link do not change.
    name: MaybeUndefined<String>,
    /// The new filter.
    filter: MaybeUndefined<IncidentFilterInput>,
    /// The new order: up to three keys. With an empty list, the newest update comes first.
    order_by: MaybeUndefined<Vec<IncidentOrderInput>>,
    /// The visibility. If a view becomes private, it stops being the default view of other users.
    visibility: MaybeUndefined<Visibility>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

impl UpdateViewInput {
    /// Reads the id of the view and the changes.
    pub(super) fn read(self) -> Result<(ViewId, ViewPatch)> {
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

/// The input of `deleteView`.
#[derive(Debug, InputObject)]
pub(super) struct DeleteViewInput {
    /// The global id of the view.
    pub view_id: ID,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The input of `setDefaultView`.
#[derive(Debug, InputObject)]
pub(super) struct SetDefaultViewInput {
    /// The global id of the view, or null to clear the default view. The field must be given.
    view_id: MaybeUndefined<ID>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

impl SetDefaultViewInput {
    /// Reads the id of the view; `None` clears the default view.
    pub(super) fn read(self) -> Result<Option<ViewId>> {
        said("viewId", self.view_id)?.map(|id| view_id("viewId", &id)).transpose()
    }
}

/// The input of `visitView`.
#[derive(Debug, InputObject)]
pub(super) struct VisitViewInput {
    /// The global id of the view.
    pub view_id: ID,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// The result of a mutation on a view.
#[derive(SimpleObject)]
pub(super) struct ViewPayload {
    /// The view after the mutation.
    view: SavedView,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

impl Payload for ViewPayload {
    type Value = DomainView;

    fn new(view: View, saved: DomainView, receipt: MutationReceipt) -> Self {
        Self { view: SavedView::new(view, saved), receipt }
    }
}

/// The result of `deleteView`.
#[derive(SimpleObject)]
pub(super) struct DeleteViewPayload {
    /// The global id of the deleted view.
    deleted_id: ID,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

/// The result of `setDefaultView`.
#[derive(SimpleObject)]
pub(super) struct DefaultViewPayload {
    /// The default view of the caller; null if the caller has no default view.
    default_view: Option<SavedView>,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

impl Payload for DeleteViewPayload {
    type Value = ViewId;

    fn new(_: View, deleted: ViewId, receipt: MutationReceipt) -> Self {
        Self { deleted_id: deleted.to_string().into(), receipt }
    }
}

impl Payload for DefaultViewPayload {
    type Value = Option<DomainView>;

    fn new(view: View, saved: Option<DomainView>, receipt: MutationReceipt) -> Self {
        Self { default_view: saved.map(|saved| SavedView::new(view, saved)), receipt }
    }
}
