//! The filter of alerts.

use async_graphql::{ID, InputObject};

use super::filter::{EntityFilterInput, OwnerFilterInput};
use super::input::incident_id;
use crate::domain::account::Actor;
use crate::domain::alert::AlertStatus;
use crate::domain::filter::FILTER_TERMS_MAX;
use crate::domain::incident::Severity;
use crate::domain::path::{InputPath, each};
use crate::domain::{Error, Result, text};
use crate::storage::AlertFilter;

/// The longest text that a filter of alerts or a suggestion searches for, in characters.
pub(super) const SEARCH_CHARS_MAX: usize = 200;

/// A filter of alerts. All given fields must match. An empty list of choices, for example `status: []`, matches no
/// alert. The filter names at most 500 users, groups, products, providers and entities together; more are `LIMIT`.
#[derive(Default, InputObject)]
pub(super) struct AlertFilterInput {
    /// The global id of the incident that the alert belongs to.
    incident: Option<ID>,
    /// True: the alert belongs to an incident. False: the alert belongs to no incident.
    linked: Option<bool>,
    /// The owner of the alert matches this condition.
    owner: Option<OwnerFilterInput>,
    /// The status is one of these.
    status: Option<Vec<AlertStatus>>,
    /// The severity is one of these.
    severity: Option<Vec<Severity>>,
    /// The alert is of one of these products. The case of ASCII letters is ignored.
    product: Option<Vec<String>>,
    /// The alert is from one of these providers. The case of ASCII letters is ignored.
    provider: Option<Vec<String>>,
    /// The alert names one of these entities.
    entity: Option<Vec<EntityFilterInput>>,
    /// The title contains this text: at most 200 characters, not blank. Case and diacritical marks are ignored.
    text: Option<String>,
}

impl AlertFilterInput {
    /// Reads the filter for a caller.
    pub(super) fn read(self, caller: &Actor) -> Result<AlertFilter> {
        if let Some(needle) = &self.text {
            text::name("filter.text", needle, SEARCH_CHARS_MAX)?;
        }
        let owner = self.owner.map(|owner| owner.read(&mut InputPath::new("filter.owner"))).transpose()?;
        let owners =
            owner.as_ref().map_or(0, |it| it.users.iter().flatten().count() + it.groups.iter().flatten().count());
        let (products, providers) = (self.product.iter().flatten(), self.provider.iter().flatten());
        let values = self.entity.iter().flatten().map(|entity| &entity.value);
        let terms = owners + products.clone().chain(providers.clone()).chain(values.clone()).count();
        if terms > FILTER_TERMS_MAX {
            let message = format!("a filter has at most {FILTER_TERMS_MAX} terms");
            return Err(Error::limit("filter", message, FILTER_TERMS_MAX));
        }
        each("filter.product", products, |path, name| text::refuse_nul(path, name))?;
        each("filter.provider", providers, |path, name| text::refuse_nul(path, name))?;
        each("filter.entity", values, |path, value| text::refuse_nul(&format!("{path}.value"), value))?;
        Ok(AlertFilter {
            incident: self.incident.map(|id| incident_id("filter.incident", &id)).transpose()?,
            linked: self.linked,
            owner: owner.and_then(|owner| owner.resolved(caller)),
            status: self.status,
            severity: self.severity,
            product: self.product,
            provider: self.provider,
            entity: self.entity.map(|list| list.into_iter().map(From::from).collect()),
            text: self.text,
        })
    }
}
