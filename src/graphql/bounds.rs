//! How many values a list of a request may hold: one bound for each input field and each argument that takes a list.
//!
//! `server/operation/lists.rs` checks the lists of a request against these bounds before it builds any value. A bound
//! that the domain has too is taken from the domain.

use super::query::NODES_MAX;
use crate::app::account::MEMBERS_PER_CALL_MAX;
use crate::domain::alert::{ALERTS_PER_BATCH_MAX, ALERTS_PER_LINK_MAX, ENTITIES_PER_ALERT_MAX, LABELS_MAX};
use crate::domain::bookmark::{ENTITIES_MAX, ROWS_MAX};
use crate::domain::bulk::BULK_INCIDENTS_MAX;
use crate::domain::correlation::KINDS_MAX;
use crate::domain::filter::{FILTER_TERMS_MAX, ORDER_KEYS_MAX};
use crate::domain::tag::TAGS_PER_INCIDENT_MAX;

/// The bounds, by `Type.field` of an input and by `Type.field(argument)`, in the order of the names.
pub const LISTS: [(&str, usize); 58] = [
    ("ActivityInput.kinds", FILTER_TERMS_MAX),
    ("AddBookmarkInput.entities", ENTITIES_MAX),
    // To the schema this field is JSON; to the desk it is a list.
    ("AddBookmarkInput.rows", ROWS_MAX),
    ("AddTagsInput.systemTags", TAGS_PER_INCIDENT_MAX),
    ("AddTagsInput.tags", TAGS_PER_INCIDENT_MAX),
    ("AlertFilterInput.entity", FILTER_TERMS_MAX),
    ("AlertFilterInput.product", FILTER_TERMS_MAX),
    ("AlertFilterInput.provider", FILTER_TERMS_MAX),
    ("AlertFilterInput.severity", FILTER_TERMS_MAX),
    ("AlertFilterInput.status", FILTER_TERMS_MAX),
    ("AlertInput.entities", ENTITIES_PER_ALERT_MAX),
    ("AlertInput.techniques", LABELS_MAX),
    ("BulkEditInput.addSystemTags", TAGS_PER_INCIDENT_MAX),
    ("BulkEditInput.addTags", TAGS_PER_INCIDENT_MAX),
    ("BulkEditInput.removeSystemTags", TAGS_PER_INCIDENT_MAX),
    ("BulkEditInput.removeTags", TAGS_PER_INCIDENT_MAX),
    ("BulkTargetInput.ids", BULK_INCIDENTS_MAX),
    ("CorrelateInput.kinds", KINDS_MAX),
    ("CreateIncidentInput.alerts", ALERTS_PER_LINK_MAX),
    ("CreateIncidentInput.systemTags", TAGS_PER_INCIDENT_MAX),
    ("CreateIncidentInput.tags", TAGS_PER_INCIDENT_MAX),
    ("CreateViewInput.orderBy", ORDER_KEYS_MAX),
    ("GroupMembersInput.users", MEMBERS_PER_CALL_MAX),
    ("IncidentFilterInput.activity", FILTER_TERMS_MAX),
    ("IncidentFilterInput.and", FILTER_TERMS_MAX),
    ("IncidentFilterInput.classification", FILTER_TERMS_MAX),
    ("IncidentFilterInput.entity", FILTER_TERMS_MAX),
    ("IncidentFilterInput.number", FILTER_TERMS_MAX),
    ("IncidentFilterInput.or", FILTER_TERMS_MAX),
    ("IncidentFilterInput.product", FILTER_TERMS_MAX),
    ("IncidentFilterInput.provider", FILTER_TERMS_MAX),
    ("IncidentFilterInput.reason", FILTER_TERMS_MAX),
    ("IncidentFilterInput.severity", FILTER_TERMS_MAX),
    ("IncidentFilterInput.status", FILTER_TERMS_MAX),
    ("IncidentFilterInput.threat", FILTER_TERMS_MAX),
    ("IngestAlertInput.systemTags", TAGS_PER_INCIDENT_MAX),
    ("IngestAlertsInput.alerts", ALERTS_PER_BATCH_MAX),
    ("IngestAlertsInput.systemTags", TAGS_PER_INCIDENT_MAX),
    ("LinkAlertsInput.alerts", ALERTS_PER_LINK_MAX),
    ("OwnerFilterInput.groups", FILTER_TERMS_MAX),
    ("OwnerFilterInput.users", FILTER_TERMS_MAX),
    ("Query.incidents(orderBy)", ORDER_KEYS_MAX),
    ("Query.nodes(ids)", NODES_MAX),
    ("RemoveTagsInput.systemTags", TAGS_PER_INCIDENT_MAX),
    ("RemoveTagsInput.tags", TAGS_PER_INCIDENT_MAX),
    ("SplitIncidentInput.alerts", ALERTS_PER_LINK_MAX),
    ("TagFilterInput.all", FILTER_TERMS_MAX),
    ("TagFilterInput.any", FILTER_TERMS_MAX),
    ("TagFilterInput.kind", FILTER_TERMS_MAX),
    ("TagFilterInput.none", FILTER_TERMS_MAX),
    ("UnlinkAlertsInput.alerts", ALERTS_PER_LINK_MAX),
    ("UpdateIncidentInput.addSystemTags", TAGS_PER_INCIDENT_MAX),
    ("UpdateIncidentInput.addTags", TAGS_PER_INCIDENT_MAX),
    ("UpdateIncidentInput.linkAlerts", ALERTS_PER_LINK_MAX),
    ("UpdateIncidentInput.removeSystemTags", TAGS_PER_INCIDENT_MAX),
    ("UpdateIncidentInput.removeTags", TAGS_PER_INCIDENT_MAX),
    ("UpdateIncidentInput.unlinkAlerts", ALERTS_PER_LINK_MAX),
    ("UpdateViewInput.orderBy", ORDER_KEYS_MAX),
];

/// Returns the bound of the list at `Type.field` or `Type.field(argument)`; `None` if it takes no list.
pub fn of_list(place: &str) -> Option<usize> {
    LISTS.iter().find(|(known, _)| *known == place).map(|(_, bound)| *bound)
}
