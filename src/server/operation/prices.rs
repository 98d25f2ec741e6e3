//! The prices of fields: how many fields of an answer each field of the schema counts for.
//!
//! A price belongs to a field of a type: `Facets.status` is a list, `Incident.status` is a word.

/// The price of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// The cost of the field itself, counted in fields: 1 unless it takes more work than others.
    pub own: usize,
    /// The assumed length of its list if no argument gives it; `None` if the field is no list.
    pub items: Option<usize>,
}

const fn list(items: usize) -> Price {
    Price { own: 1, items: Some(items) }
}

const fn dear(own: usize) -> Price {
    Price { own, items: None }
}

/// The fields that are lists without pages, and the fields that take more work than others, by `Type.field` in the
/// order of the names.
///
/// A list is assumed to be a few times as long as on a busy desk, far below the limit of the product. So many rows of
/// long lists are refused, and the page of an ordinary incident passes. Expensive fields render Markdown, fold a log,
/// return a text of any length or the rows of a bookmark, count the unread incidents of a whole queue, or look at up to
/// a hundred entities. Each takes under a millisecond on an ordinary incident.
pub const PRICES: [(&str, Price); 91] = [
    ("Alert.entities", list(10)),
    ("Alert.fullTitle", dear(250)),
    ("Alert.techniques", list(3)),
    ("AlertChange.entries", list(2)),
    ("AlertsChangedEntry.alerts", list(10)),
    ("AlertsLinkedEntry.alertIds", list(10)),
    ("AlertsLinkedEntry.movedFromIds", list(2)),
    ("AlertsUnlinkedEntry.alertIds", list(10)),
    ("Bookmark.entities", list(10)),
    ("Bookmark.rows", dear(250)),
    ("BulkPreview.items", list(50)),
    ("Change.entries", list(2)),
    ("Comment.attachments", list(5)),
    // All texts are read, whatever page is asked for.
    ("Comment.history", dear(20)),
    ("Comment.html", dear(20)),
    ("CommentAsOf.html", dear(20)),
    ("Correlation.sharedEntities", list(5)),
    ("DeleteIncidentPayload.alerts", list(10)),
    ("EntityGroup.entities", list(10)),
    ("EntityGroupAsOf.entities", list(10)),
    ("Facets.owner", list(50)),
    ("Facets.product", list(20)),
    ("Facets.severity", list(4)),
    ("Facets.status", list(4)),
    ("Facets.tags", list(50)),
    ("Incident.attachments", list(5)),
    ("Incident.entities", list(10)),
    ("Incident.fullTitle", dear(250)),
    ("Incident.products", list(2)),
    ("Incident.providers", list(2)),
    ("Incident.similar", Price { own: 1_000, items: Some(5) }),
    ("Incident.tags", list(5)),
    ("IncidentAsOf.entities", list(10)),
    ("IncidentAsOf.fullTitle", dear(250)),
    ("IncidentAsOf.products", list(2)),
    ("IncidentAsOf.providers", list(2)),
    ("IncidentAsOf.tags", list(5)),
    ("IncidentFilter.activity", list(2)),
    ("IncidentFilter.and", list(2)),
    ("IncidentFilter.classification", list(2)),
    ("IncidentFilter.entity", list(3)),
    ("IncidentFilter.number", list(3)),
    ("IncidentFilter.or", list(2)),
    ("IncidentFilter.product", list(3)),
    ("IncidentFilter.provider", list(3)),
    ("IncidentFilter.reason", list(2)),
    ("IncidentFilter.severity", list(2)),
    ("IncidentFilter.status", list(2)),
    ("IncidentFilter.threat", list(2)),
    ("IncidentPayload.alerts", list(10)),
    ("IngestPayload.alerts", list(10)),
    ("IngestPayload.correlations", list(10)),
    ("MergeOutcome.addedTags", list(5)),
    ("MergeOutcome.ownerChanges", list(5)),
    ("MergeOutcome.products", list(2)),
    ("MergeOutcome.tags", list(5)),
    ("MergePayload.alerts", list(10)),
    ("MergePreview.refusals", list(2)),
    ("OwnerFilter.groups", list(3)),
    ("OwnerFilter.users", list(3)),
    ("Query.assigneeSuggestions", list(10)),
    // It may pass over the changes of deleted incidents.
    ("Query.deskLog", dear(250)),
    ("Query.incidentAsOf", dear(1_000)),
    ("Query.nodes", list(100)),
    // The argument gives the number of tags, one level further down.
    ("Query.tagSuggestions", list(10)),
    ("Query.views", list(50)),
    ("QueueRow.products", list(2)),
    ("QueueRow.providers", list(2)),
    ("QueueRow.tags", list(5)),
    ("QueueSummary.byOwner", list(50)),
    ("QueueSummary.byProduct", list(20)),
    ("QueueSummary.bySeverity", list(4)),
    ("QueueSummary.byStatus", list(2)),
    ("QueueSummary.byTag", list(50)),
    ("QueueUpdated.changedFields", list(2)),
    ("ReportEntitiesDelta.added", list(5)),
    ("ReportEntitiesDelta.removed", list(5)),
    ("ReportTechniquesDelta.after", list(3)),
    ("ReportTechniquesDelta.before", list(3)),
    ("SavedView.orderBy", list(1)),
    ("SavedView.unreadCount", dear(250)),
    ("SimilarIncident.sharedEntities", list(5)),
    ("SplitIncidentPayload.alerts", list(10)),
    ("TagFilter.all", list(3)),
    ("TagFilter.any", list(3)),
    ("TagFilter.kind", list(3)),
    ("TagFilter.none", list(3)),
    ("TagSuggestions.tags", list(1)),
    ("TagsEntry.added", list(5)),
    ("TagsEntry.removed", list(5)),
    ("Viewer.groups", list(20)),
];

/// Returns the price of a field: its entry in the table, or 1 for each value.
pub fn price(of: &str, field: &str) -> Price {
    let is_it = |place: &str| place.split_once('.') == Some((of, field));
    PRICES.iter().find(|(place, _)| is_it(place)).map_or(Price { own: 1, items: None }, |(_, price)| *price)
}
