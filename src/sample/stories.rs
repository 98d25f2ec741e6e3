//! The stories of the sample desk, as data: what happens in which order, what each product says of it, how it ends.
//!
//! The stories themselves are in [`intrusions`](super::intrusions) and [`everyday`](super::everyday). Words in braces are filled in by [`Cast`](super::people::Cast).

use super::dice::Dice;
use super::{everyday, intrusions, slips};
use crate::domain::classification::{Classification, ExpectedActivity, FalsePositiveReason, Threat};
use crate::domain::entity::{EntityKind, Verdict};
use crate::domain::incident::Severity;
use crate::domain::tag::TagKind;

/// A product that detects.
#[derive(Debug)]
pub struct Product {
    /// Who detects.
    pub provider: &'static str,
    /// The product's name.
    pub name: &'static str,
    /// How its alert ids begin.
    pub prefix: &'static str,
}

const fn product(provider: &'static str, name: &'static str, prefix: &'static str) -> Product {
    Product { provider, name, prefix }
}

/// Endpoints.
pub const ENDPOINT: Product = product("Palisade", "Palisade Endpoint", "pe");
/// Mail.
pub const MAIL: Product = product("Lettergate", "Lettergate Mail Security", "lm");
/// Sign-ins and directories.
pub const IDENTITY: Product = product("Keywarden", "Keywarden Identity", "ki");
/// Clouds.
pub const CLOUD: Product = product("Cirrusgate", "Cirrusgate Cloud Posture", "sc");
/// Networks.
pub const NETWORK: Product = product("Tidewatch", "Tidewatch Network Sensor", "tn");
/// Documents.
pub const DATA: Product = product("Paperlock", "Paperlock Data Protection", "pd");
/// Rules over all logs.
pub const RULES: Product = product("Watchfloor rules", "Log analytics", "la");

/// One step of a story: an alert, or several alike.
#[derive(Debug)]
pub struct Stage {
    /// Who sees it.
    pub product: &'static Product,
    /// How bad.
    pub severity: Severity,
    /// The MITRE ATT&CK tactic.
    pub category: &'static str,
    /// MITRE ATT&CK techniques.
    pub techniques: &'static [&'static str],
    /// The alert's title.
    pub title: &'static str,
    /// The alert's description.
    pub description: &'static str,
    /// What it names.
    pub entities: &'static [(EntityKind, &'static str, Option<Verdict>)],
    /// How many alerts alike, at most; each has other times.
    pub repeat: u64,
    /// In how many percent of the tellings it happens.
    pub chance: u64,
}

/// How a story ends when it ends so.
#[derive(Debug)]
pub struct Ending {
    /// What it turned out to be; none where the analyst set nothing.
    pub classification: Option<Classification>,
    /// The resolution note.
    pub note: &'static str,
}

/// A story.
#[derive(Debug)]
pub struct Story {
    /// How often it is told, against the others.
    pub weight: u64,
    /// What analysts rename it to, if they do.
    pub renamed: &'static str,
    /// Custom tags.
    pub tags: &'static [&'static str],
    /// System tags.
    pub system_tags: &'static [(TagKind, &'static str)],
    /// What happens, in order. The first always does.
    pub stages: &'static [Stage],
    /// What analysts write meanwhile.
    pub remarks: &'static [&'static str],
    /// How it ends.
    pub endings: &'static [Ending],
}

/// A threat.
pub const fn real(threat: Threat, note: &'static str) -> Ending {
    Ending { classification: Some(Classification::TruePositive(threat)), note }
}

/// Meant to be.
pub const fn expected(activity: ExpectedActivity, note: &'static str) -> Ending {
    Ending { classification: Some(Classification::InformationalExpectedActivity(activity)), note }
}

/// A mistake of the detection.
pub const fn wrong(reason: FalsePositiveReason, note: &'static str) -> Ending {
    Ending { classification: Some(Classification::FalsePositive(reason)), note }
}

/// Every story.
pub fn all() -> impl Iterator<Item = &'static Story> + Clone {
    intrusions::STORIES.iter().chain(everyday::STORIES).chain(slips::STORIES)
}

/// One of them, the frequent ones more often.
pub fn pick(dice: &mut Dice) -> &'static Story {
    let mut left = dice.between(1, all().map(|story| story.weight).sum());
    for story in all() {
        match left.checked_sub(story.weight) {
            Some(rest) if rest > 0 => left = rest,
            _ => return story,
        }
    }
    &intrusions::STORIES[0]
}
