//! The loaders of the API. Each reads the values of all keys of one kind at once, from one snapshot.
//!
//! A resolver asks [`View::load`](super::context::View::load) for one key. The view collects the keys of a list.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::dataloader::Loader;

use crate::domain::account::User;
use crate::domain::activity::ToldChange;
use crate::domain::alert::Alert;
use crate::domain::attachment::Attachment;
use crate::domain::bookmark::Bookmark;
use crate::domain::comment::{Comment, Revision};
use crate::domain::entity::Entity;
use crate::domain::incident::Incident;
use crate::domain::view::Visit;
use crate::domain::{AlertId, AttachmentId, BookmarkId, CommentId, Error, GroupId, IncidentId, Result, UserId, ViewId};
use crate::storage::{ActivityFilter, EntitySummary, Reader, Similarity, Span, TextKey};

/// Reads together what several objects of one list ask for.
pub(super) struct Batch {
    pub(super) reader: Reader,
}

/// The key of the start of a long text: one character more than a title shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StartOf(pub TextKey);

/// The key of the members at one end of the list of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MembersAtEnd(pub GroupId, pub Span<()>);

/// The key of the alerts at one end of the list of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AlertsAtEnd(pub IncidentId, pub Span<()>);

/// The key of the number of alerts of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AlertCount(pub IncidentId);

/// The key of the entities that an alert names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntitiesOf(pub AlertId);

/// The key of the raw payload of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RawOf(pub AlertId);

/// The key of the comments at one end of the list of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CommentsAtEnd(pub IncidentId, pub Span<()>);

/// The key of the attachments of an incident that are uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AttachmentsOf(pub IncidentId);

/// The key of the history of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HistoryOf(pub CommentId);

/// The key of the bookmarks at one end of the list of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BookmarksAtEnd(pub IncidentId, pub Span<()>);

/// The key of the number of bookmarks of an incident that are not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BookmarkCount(pub IncidentId);

/// The key of the result rows of a bookmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RowsOf(pub BookmarkId);

/// The key of a user's last visit to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct VisitOf(pub UserId, pub ViewId);

/// The key of the changes at one end of the log of an incident, through a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ChangesAtEnd(pub IncidentId, pub (ActivityFilter, Span<()>));

/// The key of the number of changes of an incident that match a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ChangeCount(pub IncidentId, pub ActivityFilter);

/// The key of the first entities of an incident; the number is how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entities(pub IncidentId, pub u64);

/// The key of the incidents that are most similar to an incident; the number is how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Similar(pub IncidentId, pub u64);

/// Groups the keys of one batch by their arguments. The keys of one field have equal arguments, so they form one group.
pub(super) fn grouped<K, A: Clone + Eq + Hash>(keys: impl Iterator<Item = (K, A)>) -> HashMap<A, Vec<K>> {
    let mut groups: HashMap<A, Vec<K>> = HashMap::new();
    for (key, asked) in keys {
        groups.entry(asked).or_default().push(key);
    }
    groups
}

impl Loader<IncidentId> for Batch {
    type Value = Incident;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[IncidentId]) -> Result<HashMap<IncidentId, Incident>, Arc<Error>> {
        let found = self.reader.incidents_to_show(keys).await.map_err(Arc::new)?;
        let standing = found.into_iter().filter(|incident| incident.deleted_at.is_none());
        Ok(standing.map(|incident| (incident.id, incident)).collect())
    }
}

impl Loader<MembersAtEnd> for Batch {
    type Value = Vec<User>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[MembersAtEnd]) -> Result<HashMap<MembersAtEnd, Vec<User>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (span, groups) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let members = self.reader.members_at_end(&groups, span).await.map_err(Arc::new)?;
            found.extend(members.into_iter().map(|(group, members)| (MembersAtEnd(group, span), members)));
        }
        Ok(found)
    }
}

impl Loader<TextKey> for Batch {
    type Value = String;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[TextKey]) -> Result<HashMap<TextKey, String>, Arc<Error>> {
        self.reader.long_texts(keys).await.map_err(Arc::new)
    }
}

impl Loader<StartOf> for Batch {
    type Value = String;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[StartOf]) -> Result<HashMap<StartOf, String>, Arc<Error>> {
        let keys: Vec<TextKey> = keys.iter().map(|key| key.0).collect();
        let starts = self.reader.long_text_starts(&keys).await.map_err(Arc::new)?;
        Ok(starts.into_iter().map(|(key, start)| (StartOf(key), start)).collect())
    }
}

impl Loader<AlertsAtEnd> for Batch {
    type Value = Vec<Alert>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AlertsAtEnd]) -> Result<HashMap<AlertsAtEnd, Vec<Alert>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (span, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let alerts = self.reader.alerts_at_end(&incidents, span).await.map_err(Arc::new)?;
            found.extend(alerts.into_iter().map(|(incident, alerts)| (AlertsAtEnd(incident, span), alerts)));
        }
        Ok(found)
    }
}

impl Loader<AlertCount> for Batch {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AlertCount]) -> Result<HashMap<AlertCount, u64>, Arc<Error>> {
        let incidents: Vec<IncidentId> = keys.iter().map(|key| key.0).collect();
        let counts = self.reader.alert_counts(&incidents).await.map_err(Arc::new)?;
        Ok(counts.into_iter().map(|(incident, count)| (AlertCount(incident), count)).collect())
    }
}

impl Loader<EntitiesOf> for Batch {
    type Value = Vec<Entity>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[EntitiesOf]) -> Result<HashMap<EntitiesOf, Vec<Entity>>, Arc<Error>> {
        let alerts: Vec<AlertId> = keys.iter().map(|key| key.0).collect();
        let entities = self.reader.alert_entities(&alerts).await.map_err(Arc::new)?;
        Ok(entities.into_iter().map(|(alert, entities)| (EntitiesOf(alert), entities)).collect())
    }
}

impl Loader<RawOf> for Batch {
    type Value = String;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RawOf]) -> Result<HashMap<RawOf, String>, Arc<Error>> {
        let alerts: Vec<AlertId> = keys.iter().map(|key| key.0).collect();
        let raws = self.reader.alerts_raw(&alerts).await.map_err(Arc::new)?;
        Ok(raws.into_iter().map(|(alert, raw)| (RawOf(alert), raw)).collect())
    }
}

impl Loader<CommentId> for Batch {
    type Value = Comment;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[CommentId]) -> Result<HashMap<CommentId, Comment>, Arc<Error>> {
        let comments = self.reader.comments(keys).await.map_err(Arc::new)?;
        Ok(comments.into_iter().map(|comment| (comment.id, comment)).collect())
    }
}

impl Loader<AttachmentId> for Batch {
    type Value = Attachment;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AttachmentId]) -> Result<HashMap<AttachmentId, Attachment>, Arc<Error>> {
        let attachments = self.reader.attachments(keys).await.map_err(Arc::new)?;
        Ok(attachments.into_iter().map(|attachment| (attachment.id, attachment)).collect())
    }
}

impl Loader<AttachmentsOf> for Batch {
    type Value = Vec<Attachment>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[AttachmentsOf]) -> Result<HashMap<AttachmentsOf, Vec<Attachment>>, Arc<Error>> {
        let incidents: Vec<IncidentId> = keys.iter().map(|key| key.0).collect();
        let attachments = self.reader.attachments_of(&incidents).await.map_err(Arc::new)?;
        Ok(attachments.into_iter().map(|(incident, attachments)| (AttachmentsOf(incident), attachments)).collect())
    }
}

impl Loader<CommentsAtEnd> for Batch {
    type Value = Vec<Comment>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[CommentsAtEnd]) -> Result<HashMap<CommentsAtEnd, Vec<Comment>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (span, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let comments = self.reader.comments_at_end(&incidents, span).await.map_err(Arc::new)?;
            found.extend(comments.into_iter().map(|(incident, comments)| (CommentsAtEnd(incident, span), comments)));
        }
        Ok(found)
    }
}

impl Loader<HistoryOf> for Batch {
    type Value = Vec<Revision>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[HistoryOf]) -> Result<HashMap<HistoryOf, Vec<Revision>>, Arc<Error>> {
        let comments: Vec<CommentId> = keys.iter().map(|key| key.0).collect();
        let histories = self.reader.comment_histories(&comments).await.map_err(Arc::new)?;
        Ok(histories.into_iter().map(|(comment, history)| (HistoryOf(comment), history)).collect())
    }
}

impl Loader<BookmarkId> for Batch {
    type Value = Bookmark;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[BookmarkId]) -> Result<HashMap<BookmarkId, Bookmark>, Arc<Error>> {
        let bookmarks = self.reader.bookmarks(keys).await.map_err(Arc::new)?;
        Ok(bookmarks.into_iter().map(|bookmark| (bookmark.id, bookmark)).collect())
    }
}

impl Loader<BookmarksAtEnd> for Batch {
    type Value = Vec<Bookmark>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[BookmarksAtEnd]) -> Result<HashMap<BookmarksAtEnd, Vec<Bookmark>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (span, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let bookmarks = self.reader.bookmarks_at_end(&incidents, span).await.map_err(Arc::new)?;
            found.extend(bookmarks.into_iter().map(|(incident, all)| (BookmarksAtEnd(incident, span), all)));
        }
        Ok(found)
    }
}

impl Loader<BookmarkCount> for Batch {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[BookmarkCount]) -> Result<HashMap<BookmarkCount, u64>, Arc<Error>> {
        let incidents: Vec<IncidentId> = keys.iter().map(|key| key.0).collect();
        let counts = self.reader.bookmark_counts(&incidents).await.map_err(Arc::new)?;
        Ok(counts.into_iter().map(|(incident, count)| (BookmarkCount(incident), count)).collect())
    }
}

impl Loader<RowsOf> for Batch {
    type Value = String;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RowsOf]) -> Result<HashMap<RowsOf, String>, Arc<Error>> {
        let bookmarks: Vec<BookmarkId> = keys.iter().map(|key| key.0).collect();
        let rows = self.reader.bookmark_rows(&bookmarks).await.map_err(Arc::new)?;
        Ok(rows.into_iter().map(|(bookmark, rows)| (RowsOf(bookmark), rows)).collect())
    }
}

impl Loader<UserId> for Batch {
    type Value = User;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[UserId]) -> Result<HashMap<UserId, User>, Arc<Error>> {
        let users = self.reader.users(keys).await.map_err(Arc::new)?;
        Ok(users.into_iter().map(|user| (user.id, user)).collect())
    }
}

impl Loader<VisitOf> for Batch {
    type Value = Visit;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[VisitOf]) -> Result<HashMap<VisitOf, Visit>, Arc<Error>> {
        let mut views: HashMap<UserId, Vec<ViewId>> = HashMap::new();
        for VisitOf(user, view) in keys {
            views.entry(*user).or_default().push(*view);
        }
        let mut found = HashMap::new();
        for (user, views) in views {
            let visits = self.reader.visits(user, &views).await.map_err(Arc::new)?;
            found.extend(visits.into_iter().map(|(view, visit)| (VisitOf(user, view), visit)));
        }
        Ok(found)
    }
}

impl Loader<ChangesAtEnd> for Batch {
    type Value = Vec<ToldChange>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ChangesAtEnd]) -> Result<HashMap<ChangesAtEnd, Vec<ToldChange>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (asked, incidents) in grouped(keys.iter().map(|key| (key.0, key.1.clone()))) {
            let changes = self.reader.changes_at_end(&incidents, &asked.0, asked.1).await.map_err(Arc::new)?;
            let keyed = changes.into_iter().map(|(incident, changes)| (ChangesAtEnd(incident, asked.clone()), changes));
            found.extend(keyed);
        }
        Ok(found)
    }
}

impl Loader<ChangeCount> for Batch {
    type Value = u64;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ChangeCount]) -> Result<HashMap<ChangeCount, u64>, Arc<Error>> {
        let mut found = HashMap::new();
        for (filter, incidents) in grouped(keys.iter().map(|key| (key.0, key.1.clone()))) {
            let counts = self.reader.activity_counts(&incidents, &filter).await.map_err(Arc::new)?;
            found.extend(counts.into_iter().map(|(incident, count)| (ChangeCount(incident, filter.clone()), count)));
        }
        Ok(found)
    }
}

impl Loader<Entities> for Batch {
    type Value = Vec<EntitySummary>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[Entities]) -> Result<HashMap<Entities, Vec<EntitySummary>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (limit, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let entities = self.reader.incident_entities(&incidents, limit).await.map_err(Arc::new)?;
            found.extend(entities.into_iter().map(|(incident, entities)| (Entities(incident, limit), entities)));
        }
        Ok(found)
    }
}

impl Loader<Similar> for Batch {
    type Value = Vec<Similarity>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[Similar]) -> Result<HashMap<Similar, Vec<Similarity>>, Arc<Error>> {
        let mut found = HashMap::new();
        for (limit, incidents) in grouped(keys.iter().map(|key| (key.0, key.1))) {
            let similar = self.reader.similar_incidents(&incidents, limit).await.map_err(Arc::new)?;
            found.extend(similar.into_iter().map(|(incident, similar)| (Similar(incident, limit), similar)));
        }
        Ok(found)
    }
}
