//! Commands on saved views. A view is not an incident, so these commands write nothing to the log.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::idempotency::{Did, Done, Repeatable};
use super::{App, Command};
use crate::domain::account::Actor;
use crate::domain::view::{
    SHARED_VIEWS_MAX, SavedView, VIEWS_PER_USER_MAX, ViewDraft, ViewPatch, Visibility, Visit, may_share,
};
use crate::domain::{Error, Result, ViewId};
use crate::storage::{Reader, Tx};

/// The form of the view of an answer that is stored for a retry.
#[derive(Serialize, Deserialize)]
pub(super) struct ViewReceipt {
    view: Option<ViewId>,
}

impl Repeatable for Option<SavedView> {
    type Receipt = ViewReceipt;

    fn receipt(&self) -> ViewReceipt {
        ViewReceipt { view: self.as_ref().map(|view| view.id) }
    }

    async fn again(reader: &Reader, receipt: ViewReceipt) -> Result<Self> {
        let ids: Vec<ViewId> = receipt.view.into_iter().collect();
        Ok(reader.views(&ids).await?.pop())
    }
}

impl App {
    /// Creates a view of the caller.
    pub async fn create_view(&self, command: &Command, draft: ViewDraft) -> Result<Did<SavedView>> {
        let actor = keeper(command)?;
        may_share(actor, draft.visibility)?;
        let view = SavedView::new(ViewId(self.clock.fresh_id()), actor.user.id, draft, command.at);
        let did = self.once(command, async |tx| {
            if let Some(holder) = tx.view_by_slug(view.slug.as_str()).await? {
                return Err(taken(&holder, actor));
            }
            within_bounds(&tx, &view).await?;
            tx.insert_view(&view).await?;
            Ok(Done::changed(Some(view.clone())))
        });
        did.await?.try_map(|view| seen_by(view, actor))
    }

    /// Changes a view, but never its slug. Only its owner or a manager may change it.
    pub async fn update_view(&self, command: &Command, id: ViewId, patch: ViewPatch) -> Result<Did<SavedView>> {
        let actor = keeper(command)?;
        let did = self.once(command, async |tx| {
            let before = seen(&tx, id, actor).await?;
            before.changeable_by(actor)?;
            let after = before.clone().with(patch.clone());
            if after == before {
                return Ok(Done::unchanged(Some(before)));
            }
            // This also refuses a caller that shared the view when it had the right to.
            may_share(actor, after.visibility)?;
            if after.visibility != before.visibility {
                shared_within_bounds(&tx, &after).await?;
            }
            let after = SavedView { updated_at: command.at.max(before.updated_at), ..after };
            tx.update_view(&after).await?;
            Ok(Done::changed(Some(after)))
        });
        let did = did.await?;
        // A manager who makes another user's view private sees the result in this answer only, and not in a retry.
        if did.replayed { did.try_map(|view| seen_by(view, actor)) } else { did.try_map(there) }
    }

    /// Deletes a view. Only its owner or a manager may delete it. The answer names the deleted view.
    pub async fn delete_view(&self, command: &Command, id: ViewId) -> Result<Did<ViewId>> {
        let actor = keeper(command)?;
        let did = self.once(command, async |tx| {
            seen(&tx, id, actor).await?.changeable_by(actor)?;
            tx.delete_view(id).await?;
            Ok(Done::changed(None))
        });
        Ok(did.await?.map(|_| id))
    }

    /// Sets the view that the caller starts with; `None` clears it.
    pub async fn set_default_view(&self, command: &Command, id: Option<ViewId>) -> Result<Did<Option<SavedView>>> {
        let actor = keeper(command)?;
        let did = self.once(command, async |tx| {
            let value = match id {
                Some(id) => Some(seen(&tx, id, actor).await?),
                None => None,
            };
            Ok(Done { value, changed: tx.set_default_view(actor.user.id, id).await? })
        });
        Ok(did.await?.map(|view| view.filter(|view| view.is_there_for(actor.user.id))))
    }

    /// Records that the caller has seen a view in its present state. Later changes are unread.
    pub async fn visit_view(&self, command: &Command, id: ViewId) -> Result<Did<SavedView>> {
        let actor = keeper(command)?;
        // This reads the end of the log, which a command in a shared transaction cannot know yet.
        let did = self.once_alone(command, async |tx| {
            let view = seen(&tx, id, actor).await?;
            let visit = Visit { offset: tx.head().await?.offset, at: command.at };
            tx.note_visit(actor.user.id, id, visit).await?;
            Ok(Done::changed(Some(view)))
        });
        did.await?.try_map(|view| seen_by(view, actor))
    }
}

/// Returns the view of an answer if the actor may see it. At a retry it may be deleted, or another user's private view.
fn seen_by(view: Option<SavedView>, actor: &Actor) -> Result<SavedView> {
    there(view.filter(|view| view.is_there_for(actor.user.id)))
}

fn there(view: Option<SavedView>) -> Result<SavedView> {
    view.ok_or_else(|| Error::not_found("view", "of this key any more"))
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
