//! The stories of the sample desk, as data: the events in their order, each product's report, and the endings.
//!
//! The stories are in [`intrusions`], [`everyday`] and [`slips`].
//! [`Cast`](super::people::Cast) replaces the words in braces.

use super::dice::Dice;
use super::{everyday, intrusions, slips};
use crate::domain::classification::{Classification, ExpectedActivity, FalsePositiveReason, Threat};
use crate::domain::entity::{EntityKind, Verdict};
use crate::domain::incident::Severity;
use crate::domain::tag::TagKind;

/// A product that detects.
#[derive(Debug)]
pub(crate) struct Product {
    /// The provider of its alerts.
    pub provider: &'static str,
    /// The product's name.
    pub name: &'static str,
    /// The prefix of its alert ids.
    pub prefix: &'static str,
}

const fn product(provider: &'static str, name: &'static str, prefix: &'static str) -> Product {
    Product { provider, name, prefix }
}

/// The product for endpoints.
pub(crate) const ENDPOINT: Product = product("Palisade", "Palisade Endpoint", "pe");
/// The product for mail.
pub(crate) const MAIL: Product = product("Lettergate", "Lettergate Mail Security", "lm");
/// The product for sign-ins and directories.
pub(crate) const IDENTITY: Product = product("Keywarden", "Keywarden Identity", "ki");
/// The product for clouds.
pub(crate) const CLOUD: Product = product("Cirrusgate", "Cirrusgate Cloud Posture", "sc");
/// The product for networks.
pub(crate) const NETWORK: Product = product("Tidewatch", "Tidewatch Network Sensor", "tn");
/// The product for documents.
pub(crate) const DATA: Product = product("Paperlock", "Paperlock Data Protection", "pd");
/// Rules over all logs.
pub(crate) const RULES: Product = product("Watchfloor rules", "Log analytics", "la");

/// One step of a story: an alert, or several similar alerts.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The product that reports it.
    pub product: &'static Product,
    /// The severity of the alert.
    pub severity: Severity,
    /// The MITRE ATT&CK tactic.
    pub category: &'static str,
    /// MITRE ATT&CK techniques.
    pub techniques: &'static [&'static str],
    /// The alert's title.
    pub title: &'static str,
    /// The alert's description.
    pub description: &'static str,
    /// The entities of the alert: kind, template and verdict.
    pub entities: &'static [(EntityKind, &'static str, Option<Verdict>)],
    /// The largest number of similar alerts. Each has a different time.
    pub repeat: u64,
    /// The probability of the step, in percent.
    pub chance: u64,
}

/// A possible ending of a story.
#[derive(Debug)]
pub(crate) struct StoryEnding {
    /// The classification; `None` if the analyst sets none.
    pub classification: Option<Classification>,
    /// The resolution note.
    pub note: &'static str,
}

/// A story: one kind of incident.
#[derive(Debug)]
pub(crate) struct Story {
    /// The relative frequency of the story.
    pub weight: u64,
    /// The title that analysts give the incident, if they rename it.
    pub renamed: &'static str,
    /// The custom tags.
    pub tags: &'static [&'static str],
    /// The system tags.
    pub system_tags: &'static [(TagKind, &'static str)],
    /// The steps in their order. The first step always happens.
    pub stages: &'static [Stage],
    /// The comments that analysts write meanwhile.
    pub remarks: &'static [&'static str],
    /// The possible endings.
    pub endings: &'static [StoryEnding],
}

/// Makes an ending as a true positive.
pub(crate) const fn real(threat: Threat, note: &'static str) -> StoryEnding {
    StoryEnding { classification: Some(Classification::TruePositive(threat)), note }
}

/// Makes an ending as an expected activity.
pub(crate) const fn expected(activity: ExpectedActivity, note: &'static str) -> StoryEnding {
    StoryEnding { classification: Some(Classification::InformationalExpectedActivity(activity)), note }
}

/// Makes an ending as a false positive.
pub(crate) const fn wrong(reason: FalsePositiveReason, note: &'static str) -> StoryEnding {
    StoryEnding { classification: Some(Classification::FalsePositive(reason)), note }
}

/// Returns every story.
pub(crate) fn all() -> impl Iterator<Item = &'static Story> + Clone {
    intrusions::STORIES.iter().chain(everyday::STORIES).chain(slips::STORIES)
}

/// Picks a story at random, by weight.
pub(crate) fn pick(dice: &mut Dice) -> &'static Story {
    let mut left = dice.between(1, all().map(|story| story.weight).sum());
    for story in all() {
        match left.checked_sub(story.weight) {
            Some(rest) if rest > 0 => left = rest,
            _ => return story,
        }
    }
    &intrusions::STORIES[0]
}
