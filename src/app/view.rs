//! Commands on saved views. A view is not an incident, so these commands write nothing to the log.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::idempotency::{Did, Repeatable};
use super::{App, Command};
use crate::domain::account::Actor;
use crate::domain::view::{
    SHARED_VIEWS_MAX, SavedView, VIEWS_PER_USER_MAX, ViewDraft, ViewPatch, Visibility, Visit, may_share,
};
use crate::domain::{Error, Result, ViewId};
use crate::storage::{Reader, Tx};

/// The result of a command on a view.
#[derive(Clone)]
struct Left {
    view: Option<SavedView>,
    changed: bool,
}

/// The form of [`Left`] that is stored for a retry.
#[derive(Serialize, Deserialize)]
struct LeftReceipt {
    view: Option<ViewId>,
    changed: bool,
}

impl Repeatable for Left {
    type Receipt = LeftReceipt;

    fn receipt(&self) -> LeftReceipt {
        LeftReceipt { view: self.view.as_ref().map(|view| view.id), changed: self.changed }
    }

    async fn again(reader: &Reader, receipt: LeftReceipt) -> Result<Self> {
        let ids: Vec<ViewId> = receipt.view.into_iter().collect();
        Ok(Self { view: reader.views(&ids).await?.pop(), changed: receipt.changed })
    }
}

impl Left {
    /// Returns the view if the actor may see it. At a retry it may be deleted, or another user's private view.
    fn seen_by(self, actor: &Actor) -> Result<SavedView> {
        let view = self.view.filter(|view| view.is_there_for(actor.user.id));
        Self { view, ..self }.there()
    }

    fn there(self) -> Result<SavedView> {
        self.view.ok_or_else(|| Error::not_found("view", "of this key any more"))
    }
}

impl App {
    /// Creates a view of the caller.
    pub async fn create_view(&self, command: &Command, draft: ViewDraft) -> Result<Did<SavedView>> {
        let actor = keeper(command)?;
        may_share(actor, draft.visibility)?;
        let view = SavedView::new(ViewId(self.clock.fresh_id()), actor.user.id, draft, command.at);
        let did = self
            .once(command, |tx| {
                let (view, actor) = (view.clone(), actor.clone());
                Box::pin(async move {
                    if let Some(holder) = tx.view_by_slug(view.slug.as_str()).await? {
                        return Err(taken(&holder, &actor));
                    }
                    within_bounds(&tx, &view).await?;
                    tx.insert_view(&view).await?;
                    Ok(Left { view: Some(view), changed: true })
                })
            })
            .await?;
        did.map(|left| left.seen_by(actor))
    }

    /// Changes a view, but never its slug. Returns the view and whether it changed. Only its owner or a manager may
    /// change it.
    pub async fn update_view(&self, command: &Command, id: ViewId, patch: ViewPatch) -> Result<Did<(SavedView, bool)>> {
        let actor = keeper(command)?;
        let did = self
            .once(command, |tx| {
                let (patch, actor) = (patch.clone(), actor.clone());
                Box::pin(async move {
                    let before = seen(&tx, id, &actor).await?;
                    before.changeable_by(&actor)?;
                    let after = before.clone().with(patch);
                    if after == before {
                        return Ok(Left { view: Some(before), changed: false });
                    }
                    // This also refuses a caller that shared the view when it had the right to.
                    may_share(&actor, after.visibility)?;
                    if after.visibility != before.visibility {
                        shared_within_bounds(&tx, &after).await?;
                    }
                    let after = SavedView { updated_at: command.at.max(before.updated_at), ..after };
                    tx.update_view(&after).await?;
                    Ok(Left { view: Some(after), changed: true })
                })
            })
            .await?;
        let replayed = did.replayed;
        did.map(|left| {
            let changed = left.changed;
            // A manager who makes another user's view private sees the result in this answer only, and not in a retry.
            let view = if replayed { left.seen_by(actor)? } else { left.there()? };
            Ok((view, changed))
        })
    }

    /// Deletes a view. Only its owner or a manager may delete it.
    pub async fn delete_view(&self, command: &Command, id: ViewId) -> Result<Did<()>> {
        let actor = keeper(command)?;
        let did = self
            .once(command, |tx| {
                Box::pin(async move {
                    seen(&tx, id, actor).await?.changeable_by(actor)?;
                    tx.delete_view(id).await?;
                    Ok(Left { view: None, changed: true })
                })
            })
            .await?;
        did.map(|_| Ok(()))
    }

    /// Sets the view that the caller starts with; `None` clears it.
    pub async fn set_default_view(&self, command: &Command, id: Option<ViewId>) -> Result<Did<Option<SavedView>>> {
        let actor = keeper(command)?;
        let did = self
            .once(command, |tx| {
                Box::pin(async move {
                    let view = match id {
                        Some(id) => Some(seen(&tx, id, actor).await?),
                        None => None,
                    };
                    tx.set_default_view(actor.user.id, id).await?;
                    Ok(Left { view, changed: true })
                })
            })
            .await?;
        did.map(|left| Ok(left.view.filter(|view| view.is_there_for(actor.user.id))))
    }

    /// Records that the caller has seen a view in its present state. Later changes are unread.
    pub async fn visit_view(&self, command: &Command, id: ViewId) -> Result<Did<SavedView>> {
        let actor = keeper(command)?;
        let did = self
            // This reads the end of the log, which a command in a shared transaction cannot know yet.
            .once_alone(command, |tx| {
                Box::pin(async move {
                    let view = seen(&tx, id, actor).await?;
                    let visit = Visit { offset: tx.head().await?.offset, at: command.at };
                    tx.note_visit(actor.user.id, id, visit).await?;
                    Ok(Left { view: Some(view), changed: false })
                })
            })
            .await?;
        did.map(|left| left.seen_by(actor))
    }
}

/// Returns the user whose views a command is about.
fn keeper(command: &Command) -> Result<&Actor> {
    command.actor.as_ref().ok_or_else(|| Error::forbidden("views are kept by users, and the desk itself is none"))
}

/// Locks a view that the caller may see. A private view of another user does not exist for the caller.
async fn seen(tx: &Tx, id: ViewId, actor: &Actor) -> Result<SavedView> {
    let view = tx.lock_view(id).await?.filter(|view| view.is_there_for(actor.user.id));
    view.ok_or_else(|| Error::not_found("view", id))
}

/// Returns the refusal of a slug that another view has. It names that view only to a caller that may see it.
fn taken(holder: &SavedView, actor: &Actor) -> Error {
    let mut now = json!({ "slug": holder.slug.as_str() });
    if holder.is_there_for(actor.user.id) {
        now["view"] = json!({ "id": holder.id.to_string(), "name": holder.name });
    }
    Error::taken("slug", format!("another view has the slug {}", holder.slug.as_str()), now)
}

/// Checks the limits. Two concurrent commands may exceed a limit by one view; a list shows that view too.
async fn within_bounds(tx: &Tx, view: &SavedView) -> Result<()> {
    if tx.count_views_of(view.owner).await? >= VIEWS_PER_USER_MAX as u64 {
        let message = format!("a user has at most {VIEWS_PER_USER_MAX} views");
        return Err(Error::limit("name", message, VIEWS_PER_USER_MAX));
    }
    shared_within_bounds(tx, view).await
}

async fn shared_within_bounds(tx: &Tx, view: &SavedView) -> Result<()> {
    if view.visibility == Visibility::Shared && tx.count_shared_views().await? >= SHARED_VIEWS_MAX as u64 {
        let message = format!("a desk has at most {SHARED_VIEWS_MAX} shared views");
        return Err(Error::limit("visibility", message, SHARED_VIEWS_MAX));
    }
    Ok(())
}
