//! Classifications: what an incident or alert turned out to be, in pairs of which none is invalid.

use async_graphql::{Enum, OneofObject};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};

/// The threat behind a true positive (Microsoft Graph, `determination`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Threat {
    /// Several stages of one attack.
    MultiStageAttack,
    /// A user acting with intent.
    MaliciousUserActivity,
    /// An account in other hands.
    CompromisedAccount,
    /// Malicious software.
    Malware,
    /// Deceptive mail, message or page.
    Phishing,
    /// Unwanted software.
    UnwantedSoftware,
    /// None of the above.
    Other,
}

/// The activity behind an informational, expected activity (Microsoft Graph, `determination`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExpectedActivity {
    /// A security test or red team.
    SecurityTesting,
    /// A line-of-business application.
    LineOfBusinessApplication,
    /// Activity that its owner confirmed.
    ConfirmedActivity,
    /// None of the above.
    Other,
}

/// Why an incident was a false positive (Microsoft Graph, `determination`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FalsePositiveReason {
    /// Technically accurate, but not malicious.
    NotMalicious,
    /// Not enough data to validate.
    NotEnoughDataToValidate,
    /// None of the above.
    Other,
}

/// What an incident or alert turned out to be. Exactly one of the three, each with its own kind of detail, so that an
/// invalid pair cannot be expressed (Microsoft, "Manage incidents", Specify the incident's classification).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, OneofObject)]
#[serde(rename_all = "camelCase")]
#[graphql(name = "ClassificationInput")]
pub enum Classification {
    /// It accurately indicates a real threat.
    TruePositive(Threat),
    /// A test or an expected activity.
    InformationalExpectedActivity(ExpectedActivity),
    /// It can be ignored.
    FalsePositive(FalsePositiveReason),
}

/// The first half of a classification; `NOT_SET` where there is none, so that a filter can ask for it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClassificationKind {
    /// Nobody has classified it.
    NotSet,
    /// It accurately indicates a real threat.
    TruePositive,
    /// A test or an expected activity.
    InformationalExpectedActivity,
    /// It can be ignored.
    FalsePositive,
}

impl Classification {
    /// The first half.
    pub fn kind(self) -> ClassificationKind {
        match self {
            Self::TruePositive(_) => ClassificationKind::TruePositive,
            Self::InformationalExpectedActivity(_) => ClassificationKind::InformationalExpectedActivity,
            Self::FalsePositive(_) => ClassificationKind::FalsePositive,
        }
    }

    /// The threat of a true positive.
    pub fn threat(self) -> Option<Threat> {
        match self {
            Self::TruePositive(threat) => Some(threat),
            _ => None,
        }
    }

    /// The activity of an informational, expected activity.
    pub fn activity(self) -> Option<ExpectedActivity> {
        match self {
            Self::InformationalExpectedActivity(activity) => Some(activity),
            _ => None,
        }
    }

    /// The reason of a false positive.
    pub fn reason(self) -> Option<FalsePositiveReason> {
        match self {
            Self::FalsePositive(reason) => Some(reason),
            _ => None,
        }
    }
}
