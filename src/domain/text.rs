//! Text as people write it: what is refused in every text, how text is counted, how it is folded for search and order.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::{Error, Result};

/// Refuses what no text may hold: U+0000, which PostgreSQL cannot store.
pub fn refuse_nul(path: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::invalid(path, "the character U+0000 cannot be stored"));
    }
    Ok(())
}

/// Checks a text of at most `limit` characters (Unicode scalar values, not bytes).
pub fn at_most(path: &str, text: &str, limit: usize) -> Result<()> {
    refuse_nul(path, text)?;
    let characters = text.chars().count();
    if characters > limit {
        let message = format!("at most {limit} characters, and these are {characters}");
        return Err(Error::limit(path, message, limit));
    }
    Ok(())
}

/// Checks a short name that must say something: trimmed, not blank, at most `limit` characters.
pub fn name(path: &str, text: &str, limit: usize) -> Result<String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Error::invalid(path, "this cannot be blank"));
    }
    at_most(path, trimmed, limit)?;
    Ok(trimmed.to_owned())
}

/// What names are compared by where only case does not count: composed, case folded. `José` is not `Jose`.
pub fn caseless(text: &str) -> String {
    caseless::default_case_fold_str(&text.trim().nfc().collect::<String>()).nfc().collect()
}

/// Folds text for search and order: compatibility decomposed, marks stripped, case folded.
///
/// `Ünïcode Straße` and `UNICODE STRASSE` fold alike. Folding what is folded changes nothing, so that a stored
/// folding and a fresh one can be compared.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = fold_once(text);
    // A case folding can itself decompose (U+0345 becomes an iota), and marks may follow: few texts need a second round.
    loop {
        let again = fold_once(&folded);
        if again == folded {
            return folded;
        }
        folded = again;
    }
}

fn fold_once(text: &str) -> String {
    let bare: String = text.nfkd().filter(|c| !is_combining_mark(*c)).collect();
    caseless::default_case_fold_str(&bare).nfkd().filter(|c| !is_combining_mark(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folding_ignores_case_marks_and_width() {
        assert_eq!(fold("Ünïcode Straße ﬁle"), "unicode strasse file");
        assert_eq!(fold("ＳＯＣ"), "soc");
        assert_eq!(fold("İstanbul"), "istanbul");
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert!(at_most("text", &"🦀".repeat(5), 5).is_ok());
        assert!(at_most("text", &"漢".repeat(6), 5).is_err());
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(text in any::<String>()) {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
