//! Classifications: the result of an investigation of an incident or alert. Invalid pairs cannot be expressed.

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
    /// An attack with several stages.
    MultiStageAttack,
    /// A user acted with malicious intent.
    MaliciousUserActivity,
    /// An attacker controls an account.
    CompromisedAccount,
    /// Malicious software.
    Malware,
    /// A deceptive mail, message or page.
    Phishing,
    /// Unwanted software.
    UnwantedSoftware,
    /// A threat that no other value names.
    Other,
}

/// The activity behind an informational, expected activity (Microsoft Graph, `determination`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExpectedActivity {
    /// A security test or a red team.
    SecurityTesting,
    /// A line-of-business application.
    LineOfBusinessApplication,
    /// An activity that its owner confirmed.
    ConfirmedActivity,
    /// An activity that no other value names.
    Other,
}

/// Why an incident was a false positive (Microsoft Graph, `determination`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FalsePositiveReason {
    /// The detection is technically accurate, but not malicious.
    NotMalicious,
    /// There is not enough data to validate the detection.
    NotEnoughDataToValidate,
    /// A reason that no other value names.
    Other,
}

/// The result of an investigation of an incident or alert. Give exactly one field; its value is the determination, for
/// example `{ truePositive: PHISHING }` (Microsoft, "Manage incidents", Specify the incident's classification).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, OneofObject)]
#[serde(rename_all = "camelCase")]
#[graphql(name = "ClassificationInput")]
pub enum Classification {
    /// The alert or incident accurately indicates a real threat.
    TruePositive(Threat),
    /// The activity is a test or is expected.
    InformationalExpectedActivity(ExpectedActivity),
    /// The alert or incident can be ignored.
    FalsePositive(FalsePositiveReason),
}

/// The kind of a classification.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, EnumIter, DeriveActiveEnum, Enum,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClassificationKind {
    /// The alert or incident accurately indicates a real threat.
    TruePositive,
    /// The activity is a test or is expected.
    InformationalExpectedActivity,
    /// The alert or incident can be ignored.
    FalsePositive,
}

/// What a filter asks of a classification: its kind, or that the incident has no classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClassificationFilter {
    /// The incident has no classification.
    NotSet,
    /// The incident is a true positive.
    TruePositive,
    /// The incident is an informational, expected activity.
    InformationalExpectedActivity,
    /// The incident is a false positive.
    FalsePositive,
}

impl ClassificationFilter {
    /// Returns the value that an incident with this classification meets.
    pub fn met_by(class: Option<Classification>) -> Self {
        match class.map(Classification::kind) {
            None => Self::NotSet,
            Some(ClassificationKind::TruePositive) => Self::TruePositive,
            Some(ClassificationKind::InformationalExpectedActivity) => Self::InformationalExpectedActivity,
            Some(ClassificationKind::FalsePositive) => Self::FalsePositive,
        }
    }

    /// Returns the kind that is asked for; `None` if the incident is to have no classification.
    pub fn kind(self) -> Option<ClassificationKind> {
        match self {
            Self::NotSet => None,
            Self::TruePositive => Some(ClassificationKind::TruePositive),
            Self::InformationalExpectedActivity => Some(ClassificationKind::InformationalExpectedActivity),
            Self::FalsePositive => Some(ClassificationKind::FalsePositive),
        }
    }
}

impl Classification {
    /// Returns the kind of this classification.
    pub fn kind(self) -> ClassificationKind {
        match self {
            Self::TruePositive(_) => ClassificationKind::TruePositive,
            Self::InformationalExpectedActivity(_) => ClassificationKind::InformationalExpectedActivity,
            Self::FalsePositive(_) => ClassificationKind::FalsePositive,
        }
    }

    /// Returns the threat of a true positive; `None` for other kinds.
    pub fn threat(self) -> Option<Threat> {
        match self {
            Self::TruePositive(threat) => Some(threat),
            _ => None,
        }
    }

    /// Returns the activity of an informational, expected activity; `None` for other kinds.
    pub fn activity(self) -> Option<ExpectedActivity> {
        match self {
            Self::InformationalExpectedActivity(activity) => Some(activity),
            _ => None,
        }
    }

    /// Returns the reason of a false positive; `None` for other kinds.
    pub fn reason(self) -> Option<FalsePositiveReason> {
        match self {
            Self::FalsePositive(reason) => Some(reason),
            _ => None,
        }
    }
}
