//! Commands on saved views. Views are no incidents: nothing here writes to the log.

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

/// What a command on a view left behind.
#[derive(Clone)]
struct Left {
    view: Option<SavedView>,
    changed: bool,
}

/// The same, as it is kept for a retry.
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
    /// A retry may come when the view is gone, or another's alone.
    fn seen_by(self, actor: &Actor) -> Result<SavedView> {
        let view = self.view.filter(|view| view.is_there_for(actor.user.id));
        Self { view, ..self }.there()
    }

    fn there(self) -> Result<SavedView> {
        self.view.ok_or_else(|| Error::not_found("view", "of this key any more"))
    }
}

impl App {
    /// Saves a view of the caller's.
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

    /// Changes a view, its slug never; the view, and whether anything changed. Its owner may, and a manager.
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
                    // Also of one that it shared when it might.
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
            // A manager who makes another's view private is shown what came of it, once.
            let view = if replayed { left.seen_by(actor)? } else { left.there()? };
            Ok((view, changed))
        })
    }

    /// Deletes a view. Its owner may, and a manager.
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

    /// Sets the view that the caller begins with; none clears it.
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

    /// Notes that the caller has seen a view as it is now: what changes from here on is unread.
    pub async fn visit_view(&self, command: &Command, id: ViewId) -> Result<Did<SavedView>> {
        let actor = keeper(command)?;
        let did = self
            // It reads where the log ends, which a command that shares its transaction with others cannot know yet.
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

/// The user whose views a command is about.
fn keeper(command: &Command) -> Result<&Actor> {
    command.actor.as_ref().ok_or_else(|| Error::forbidden("views are kept by users, and the desk itself is none"))
}

/// Locks a view that the caller may see; to others a private one is not there.
async fn seen(tx: &Tx, id: ViewId, actor: &Actor) -> Result<SavedView> {
    let view = tx.lock_view(id).await?.filter(|view| view.is_there_for(actor.user.id));
    view.ok_or_else(|| Error::not_found("view", id))
}

/// Refuses a slug that another view holds; which one, only to who may see it.
fn taken(holder: &SavedView, actor: &Actor) -> Error {
    let mut now = json!({ "slug": holder.slug.as_str() });
    if holder.is_there_for(actor.user.id) {
        now["view"] = json!({ "id": holder.id.to_string(), "name": holder.name });
    }
    Error::taken("slug", format!("another view has the slug {}", holder.slug.as_str()), now)
}

/// Two who come at once may pass a bound by one; a list shows that one too.
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
