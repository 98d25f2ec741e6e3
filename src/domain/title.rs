//! Titles: the rules for titles that people write, the key for ordering, and the generation of titles from alerts.

use super::text::{fold, is_blank, refuse_nul};
use super::{Error, Result};

/// How many characters of a title answers show: several lines of a screen. Another field has the whole title.
pub(crate) const SHOWN_CHARS: usize = 1_000;

/// How many characters of a title are read to show it. One more than is shown tells whether the title continues.
pub(crate) const START_CHARS: usize = SHOWN_CHARS + 1;

/// How many characters of a title its order considers.
const KEY_CHARS: usize = 256;

/// The longest key, in characters. Folding may lengthen a text, and PostgreSQL refuses index rows beyond 2,704 bytes.
const KEY_FOLDED_CHARS_MAX: usize = 512;

/// Reads a title of any length: trims spaces, refuses a blank title (Microsoft, "Create your own incidents", step 4).
pub(crate) fn parse(path: &str, mut text: String) -> Result<String> {
    refuse_nul(path, &text)?;
    if is_blank(&text) {
        return Err(Error::invalid(path, "a title cannot be blank"));
    }
    // Trims in place, because a title may have megabytes.
    text.truncate(text.trim_end().len());
    text.drain(..text.len() - text.trim_start().len());
    Ok(text)
}

/// The part of a title that answers show: its first 1,000 characters (Unicode scalar values).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownTitle {
    /// The title, or its start.
    pub text: String,
    /// Whether the title continues after `text`.
    pub truncated: bool,
}

impl ShownTitle {
    /// Returns what is shown of a title. The whole title and its first [`START_CHARS`] characters give the same result.
    pub fn of(title: &str) -> Self {
        match title.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => Self { text: title[..end].to_owned(), truncated: true },
            None => Self { text: title.to_owned(), truncated: false },
        }
    }
}

/// Returns whether a title that was read to be shown may continue. It then has exactly [`START_CHARS`] characters.
pub(crate) fn may_go_on(start: &str) -> bool {
    start.len() >= START_CHARS && start.chars().count() == START_CHARS
}

/// Returns the key by which titles are ordered: the first 256 characters, folded, compared byte by byte.
pub(crate) fn order_key(title: &str) -> String {
    let head: String = title.chars().take(KEY_CHARS).collect();
    fold(&head).chars().take(KEY_FOLDED_CHARS_MAX).collect()
}

/// The counted alerts of one incident, from which a title is generated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertDigest {
    /// How many alerts the incident has.
    pub alerts: u64,
    /// The title of the first alert by time.
    pub first_title: String,
    /// Whether all alerts have that title.
    pub same_title: bool,
    /// The attack categories, most frequent first, then by name.
    pub categories: Vec<String>,
    /// How many distinct hosts the alerts name.
    pub endpoints: u64,
    /// How many distinct users and mailboxes the alerts name.
    pub users: u64,
    /// The distinct product names, sorted.
    pub products: Vec<String>,
    /// Whether an alert names no product. It comes from a source that no product name tells.
    pub has_unnamed_source: bool,
}

/// Generates the title of an incident from its alerts, in Defender's words (Microsoft, "Manage incidents", Edit the
/// incident name). One alert, or several with one title, give their title. Other alerts are described by category,
/// extent and sources. A product is named as the source only if every alert names it. Returns `None` if there is no
/// alert.
pub(crate) fn generate(digest: &AlertDigest) -> Option<String> {
    if digest.alerts == 0 {
        return None;
    }
    if digest.same_title && digest.alerts == 1 {
        return Some(digest.first_title.clone());
    }
    let mut title = if digest.same_title {
        digest.first_title.clone()
    } else {
        match digest.categories.as_slice() {
            [] => "Multi-alert incident".to_owned(),
            [only] => format!("{only} incident"),
            [first, second, rest @ ..] => {
                let others = match rest.len() {
                    0 => String::new(),
                    1 => " & one more tactic".to_owned(),
                    n => format!(" & {n} more tactics"),
                };
                format!("Multi-stage incident involving {first} & {second}{others}")
            }
        }
    };
    let extent: Vec<String> =
        [count(digest.endpoints, "endpoint"), count(digest.users, "user")].into_iter().flatten().collect();
    if !extent.is_empty() {
        title.push_str(" on ");
        title.push_str(&extent.join(", "));
    }
    match digest.products.as_slice() {
        [] => {}
        [only] if !digest.has_unnamed_source => title.push_str(&format!(" reported by {only}")),
        _ => title.push_str(" reported by multiple sources"),
    }
    Some(title)
}

fn count(n: u64, noun: &str) -> Option<String> {
    match n {
        0 => None,
        1 => Some(format!("one {noun}")),
        n => Some(format!("{n} {noun}s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> AlertDigest {
        AlertDigest {
            alerts: 4,
            first_title: "Suspicious inbox rule".into(),
            same_title: false,
            categories: vec!["Execution".into(), "Exfiltration".into()],
            endpoints: 3,
            users: 2,
            products: vec!["Defender for Endpoint".into(), "Suricata".into()],
            has_unnamed_source: false,
        }
    }

    #[test]
    fn several_alerts_are_described_by_stage_extent_and_source() {
        assert_eq!(
            generate(&digest()).as_deref(),
            Some(
                "Multi-stage incident involving Execution & Exfiltration on 3 endpoints, 2 users reported by multiple sources"
            )
        );
    }

    #[test]
    fn a_product_is_the_only_source_if_every_alert_names_it() {
        let ending = |products: &[&str], has_unnamed_source| {
            let products = products.iter().map(|name| (*name).to_owned()).collect();
            let title = generate(&AlertDigest { products, has_unnamed_source, ..digest() }).expect("a title");
            title.split_once(" reported by ").map(|(_, source)| source.to_owned())
        };
        assert_eq!(ending(&["QQ"], false).as_deref(), Some("QQ"));
        assert_eq!(ending(&["QQ"], true).as_deref(), Some("multiple sources"));
        assert_eq!(ending(&["QQ", "Suricata"], false).as_deref(), Some("multiple sources"));
        assert_eq!(ending(&[], true), None);
    }

    #[test]
    fn one_alert_lends_its_title() {
        let one = AlertDigest { alerts: 1, same_title: true, ..digest() };
        assert_eq!(generate(&one).as_deref(), Some("Suspicious inbox rule"));
    }

    #[test]
    fn no_alert_makes_no_title() {
        assert_eq!(generate(&AlertDigest::default()), None);
    }

    #[test]
    fn a_title_is_shown_by_its_first_thousand_characters() {
        for letter in ["x", "漢", "🦀"] {
            let exact = letter.repeat(SHOWN_CHARS);
            assert_eq!(ShownTitle::of(&exact), ShownTitle { text: exact.clone(), truncated: false });
            for more in [SHOWN_CHARS + 1, SHOWN_CHARS + 2, 2_000_000] {
                let long = letter.repeat(more);
                assert_eq!(ShownTitle::of(&long), ShownTitle { text: exact.clone(), truncated: true });
                assert_eq!(may_go_on(&long), more == START_CHARS);
            }
        }
    }

    #[test]
    fn the_key_looks_at_the_first_256_characters_only() {
        let (a, b) = (format!("{}a", "x".repeat(256)), format!("{}b", "X".repeat(256)));
        assert_eq!(order_key(&a), order_key(&b));
        assert!(order_key(&"\u{fdfa}".repeat(300)).len() <= 2048);
    }
}
