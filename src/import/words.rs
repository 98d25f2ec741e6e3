//! The words of other products for severities, statuses and classifications, whatever their case and spelling.
//!
//! An unknown word is refused by name: a guess would quietly change the meaning of an incident.

use crate::domain::alert::AlertStatus;
use crate::domain::classification::{Classification, ExpectedActivity, FalsePositiveReason, Threat};
use crate::domain::entity::Verdict;
use crate::domain::incident::{Severity, Status};
use crate::domain::tag::TagKind;

/// The meaning of a word, or the reason why it is refused.
pub(crate) type Reading<T> = Result<T, String>;

/// Normalises a word for comparison: letters and digits only, lowercase. So `In progress` equals `inProgress`.
pub(crate) fn squash(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Reads a severity; `None` if the provider says that it is unknown.
pub(crate) fn severity(word: &str) -> Reading<Option<Severity>> {
    match squash(word).as_str() {
        "high" | "critical" => Ok(Some(Severity::High)),
        "medium" => Ok(Some(Severity::Medium)),
        "low" => Ok(Some(Severity::Low)),
        "informational" | "information" => Ok(Some(Severity::Informational)),
        "unknown" | "" => Ok(None),
        _ => Err(unknown("severity", word)),
    }
}

/// Reads a status in the desk's own words.
pub(crate) fn status(word: &str) -> Reading<Status> {
    match squash(word).as_str() {
        "new" => Ok(Status::New),
        "active" | "inprogress" => Ok(Status::Active),
        "resolved" | "closed" => Ok(Status::Resolved),
        _ => Err(unknown("status", word)),
    }
}

/// Reads an alert's status in the words of the desk, Graph or Sentinel; `None` if the provider does not know it.
pub(crate) fn alert_status(word: &str) -> Reading<Option<AlertStatus>> {
    match squash(word).as_str() {
        "new" => Ok(Some(AlertStatus::New)),
        "active" | "inprogress" => Ok(Some(AlertStatus::Active)),
        "resolved" | "dismissed" | "closed" => Ok(Some(AlertStatus::Resolved)),
        "unknown" | "" => Ok(None),
        _ => Err(unknown("alert status", word)),
    }
}

/// Reads a status of a Defender incident (Graph). Its `active` is `NEW` here, because nobody has started on the
/// incident. A redirected incident was merged there, so it is resolved here.
pub(crate) fn graph_status(word: &str) -> Reading<Status> {
    match squash(word).as_str() {
        "active" | "new" => Ok(Status::New),
        "inprogress" | "awaitingaction" => Ok(Status::Active),
        "resolved" | "redirected" => Ok(Status::Resolved),
        _ => Err(unknown("status", word)),
    }
}

/// Reads a classification of two words, in the words of Defender, Graph or the desk, in every spelling on Microsoft's
/// pages. `None` means that nothing was decided.
pub(crate) fn classification(kind: &str, detail: Option<&str>) -> Reading<Option<Classification>> {
    let word = squash(detail.unwrap_or_default());
    let refused = || Err(format!("\"{kind}\" does not go with \"{}\"", detail.unwrap_or_default()));
    let classification = match squash(kind).as_str() {
        "" | "unknown" | "notset" | "notavailable" => return Ok(None),
        "truepositive" => Classification::TruePositive(match word.as_str() {
            "multistageattack" | "multistagedattack" => Threat::MultiStageAttack,
            "malicioususeractivity" => Threat::MaliciousUserActivity,
            "compromisedaccount" | "compromiseduser" => Threat::CompromisedAccount,
            "malware" => Threat::Malware,
            "phishing" => Threat::Phishing,
            "unwantedsoftware" => Threat::UnwantedSoftware,
            "other" | "apt" | "securitypersonnel" | "unknown" | "notavailable" | "" => Threat::Other,
            _ => return refused(),
        }),
        "informationalexpectedactivity" => Classification::InformationalExpectedActivity(match word.as_str() {
            "securitytesting" | "securitypersonnel" => ExpectedActivity::SecurityTesting,
            "lineofbusinessapplication" => ExpectedActivity::LineOfBusinessApplication,
            "confirmedactivity" | "confirmeduseractivity" => ExpectedActivity::ConfirmedActivity,
            "other" | "unknown" | "notavailable" | "" => ExpectedActivity::Other,
            _ => return refused(),
        }),
        "falsepositive" => Classification::FalsePositive(match word.as_str() {
            "notmalicious" | "clean" => FalsePositiveReason::NotMalicious,
            "notenoughdatatovalidate" | "noenoughdatatovalidate" | "insufficientdata" => {
                FalsePositiveReason::NotEnoughDataToValidate
            }
            "other" | "unknown" | "notavailable" | "" => FalsePositiveReason::Other,
            _ => return refused(),
        }),
        _ => return Err(unknown("classification", kind)),
    };
    Ok(Some(classification))
}

/// Reads a Sentinel classification and its reason (docs/PRODUCT.md, P17); `None` if it is undetermined.
pub(crate) fn sentinel_classification(kind: &str, reason: Option<&str>) -> Reading<Option<Classification>> {
    let by_reason = match squash(reason.unwrap_or_default()).as_str() {
        "suspiciousactivity" => Some(Classification::TruePositive(Threat::Other)),
        "suspiciousbutexpected" => {
            Some(Classification::InformationalExpectedActivity(ExpectedActivity::ConfirmedActivity))
        }
        "incorrectalertlogic" => Some(Classification::FalsePositive(FalsePositiveReason::NotMalicious)),
        "inaccuratedata" => Some(Classification::FalsePositive(FalsePositiveReason::NotEnoughDataToValidate)),
        "" => None,
        _ => return Err(unknown("classification reason", reason.unwrap_or_default())),
    };
    let by_kind = match squash(kind).as_str() {
        "" | "undetermined" => return Ok(None),
        "truepositive" => Classification::TruePositive(Threat::Other),
        "benignpositive" => Classification::InformationalExpectedActivity(ExpectedActivity::ConfirmedActivity),
        "falsepositive" => Classification::FalsePositive(FalsePositiveReason::Other),
        _ => return Err(unknown("classification", kind)),
    };
    match by_reason {
        Some(named) if named.kind() == by_kind.kind() => Ok(Some(named)),
        Some(_) => Err(format!("\"{kind}\" does not go with \"{}\"", reason.unwrap_or_default())),
        None => Ok(Some(by_kind)),
    }
}

/// Reads a verdict on evidence; `None` if the provider has no verdict.
pub(crate) fn verdict(word: &str) -> Reading<Option<Verdict>> {
    match squash(word).as_str() {
        "malicious" => Ok(Some(Verdict::Malicious)),
        "suspicious" => Ok(Some(Verdict::Suspicious)),
        "nothreatsfound" | "clean" => Ok(Some(Verdict::NoThreatsFound)),
        "unknown" | "" => Ok(None),
        _ => Err(unknown("verdict", word)),
    }
}

/// Reads the kind of a tag in the desk's own words.
pub(crate) fn tag_kind(word: &str) -> Reading<TagKind> {
    match squash(word).as_str() {
        "custom" => Ok(TagKind::Custom),
        "attacktype" => Ok(TagKind::AttackType),
        "automaticaction" => Ok(TagKind::AutomaticAction),
        "expert" => Ok(TagKind::Expert),
        "criticalasset" => Ok(TagKind::CriticalAsset),
        _ => Err(unknown("kind of tag", word)),
    }
}

/// Guesses the kind of another product's system tag from the words of the tag; the default is an attack type.
pub(crate) fn system_tag_kind(name: &str) -> TagKind {
    let word = squash(name);
    let says = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
    if says(&["expert"]) {
        TagKind::Expert
    } else if says(&["critical", "highvalue", "crownjewel", "domaincontroller"]) {
        TagKind::CriticalAsset
    } else if says(&["disruption", "automatic", "autoremediat", "contained"]) {
        TagKind::AutomaticAction
    } else {
        TagKind::AttackType
    }
}

fn unknown(noun: &str, word: &str) -> String {
    format!("\"{word}\" is no {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_determination_is_one() {
        let phished = Some(Classification::TruePositive(Threat::CompromisedAccount));
        assert_eq!(classification("TruePositive", Some("CompromisedUser")), Ok(phished));
        assert_eq!(classification("truePositive", Some("compromisedAccount")), Ok(phished));
        let clean = Some(Classification::FalsePositive(FalsePositiveReason::NotMalicious));
        assert_eq!(classification("FalsePositive", Some("Clean")), Ok(clean));
        let thin = Some(Classification::FalsePositive(FalsePositiveReason::NotEnoughDataToValidate));
        assert_eq!(classification("falsePositive", Some("NoEnoughDataToValidate")), Ok(thin));
        assert_eq!(classification("unknown", None), Ok(None));
    }

    #[test]
    fn an_invalid_pair_is_refused_by_name() {
        let refusal = classification("falsePositive", Some("malware")).unwrap_err();
        assert_eq!(refusal, "\"falsePositive\" does not go with \"malware\"");
        assert!(sentinel_classification("TruePositive", Some("InaccurateData")).is_err());
        assert_eq!(severity("urgent").unwrap_err(), "\"urgent\" is no severity");
    }

    #[test]
    fn sentinel_reasons_map_as_the_product_says() {
        let cases = [
            ("TruePositive", Some("SuspiciousActivity"), Some(Classification::TruePositive(Threat::Other))),
            (
                "BenignPositive",
                Some("SuspiciousButExpected"),
                Some(Classification::InformationalExpectedActivity(ExpectedActivity::ConfirmedActivity)),
            ),
            (
                "FalsePositive",
                Some("IncorrectAlertLogic"),
                Some(Classification::FalsePositive(FalsePositiveReason::NotMalicious)),
            ),
            (
                "FalsePositive",
                Some("InaccurateData"),
                Some(Classification::FalsePositive(FalsePositiveReason::NotEnoughDataToValidate)),
            ),
            ("Undetermined", None, None),
        ];
        for (kind, reason, expected) in cases {
            assert_eq!(sentinel_classification(kind, reason), Ok(expected), "{kind}");
        }
    }

    #[test]
    fn system_tags_of_others_are_sorted_by_what_they_say() {
        assert_eq!(system_tag_kind("Defender Experts"), TagKind::Expert);
        assert_eq!(system_tag_kind("Attack Disruption"), TagKind::AutomaticAction);
        assert_eq!(system_tag_kind("Critical asset"), TagKind::CriticalAsset);
        assert_eq!(system_tag_kind("Credential Phish"), TagKind::AttackType);
    }
}
