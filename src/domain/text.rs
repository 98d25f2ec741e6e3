//! Text that people write: refused characters, counting of characters, and folding for search and order.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::{Error, Result};

/// Refuses U+0000 in a text, because PostgreSQL cannot store it.
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

/// Returns whether a text shows nothing: all its characters are spaces, controls or invisible.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c.is_control() || is_invisible(c))
}

/// Returns whether a character is invisible: Unicode's Default_Ignorable_Code_Point, and the annotation and hieroglyph
/// controls (Cf). Number signs and verse marks are Cf too, but visible.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Reads a short name: trimmed, not blank, at most `limit` characters.
pub fn name(path: &str, text: &str, limit: usize) -> Result<String> {
    let trimmed = text.trim();
    if is_blank(trimmed) {
        return Err(Error::invalid(path, "this cannot be blank"));
    }
    at_most(path, trimmed, limit)?;
    Ok(trimmed.to_owned())
}

/// Reads a name by which people tell things apart: as [`name`], and without invisible characters. A direction control
/// shows `evil` as `live`, and invisible characters make two names look equal.
pub fn label(path: &str, text: &str, limit: usize) -> Result<String> {
    let name = name(path, text, limit)?;
    let found = hidden(&name).next();
    match found {
        None => Ok(name),
        Some((_, found)) => {
            let message =
                format!("a name has no character that cannot be seen, and this one has U+{:04X}", found as u32);
            Err(Error::invalid(path, message))
        }
    }
}

/// Removes what [`label`] refuses from a stored name. Controls, such as a line break, become spaces.
///
/// One pass over the text: imports call this before the length of a name is checked.
pub fn visible(text: &str) -> String {
    let mut kept = VisibleStart(Vec::new());
    for c in text.chars() {
        match c {
            c if is_break(c) => kept.push(' '),
            c if is_invisible(c) && !is_special(c) => {}
            c => kept.push(c),
        }
    }
    kept.settle(None);
    while kept.0.last().is_some_and(|c| c.is_whitespace()) {
        kept.0.pop();
        kept.settle(None);
    }
    kept.0.into_iter().collect()
}

/// The visible characters of the beginning of a text. Only special characters at the end may be hidden, by what follows.
struct VisibleStart(Vec<char>);

impl VisibleStart {
    fn push(&mut self, c: char) {
        self.settle(Some(c));
        let before = self.0.last().copied();
        let is_hidden = if is_special(c) { !may_follow(c, before) } else { before.is_none() && c.is_whitespace() };
        if !is_hidden {
            self.0.push(c);
        }
    }

    /// Removes the special characters at the end that are hidden before this character.
    fn settle(&mut self, after: Option<char>) {
        while let Some((last, rest)) = self.0.split_last()
            && is_special(*last)
            && !has_effect(*last, rest.last().copied(), after)
        {
            self.0.pop();
        }
    }
}

/// Returns a text for one line of a terminal: with U+FFFD in place of each control and each invisible character. A
/// direction control would turn the rest of the line around.
pub fn printable(text: &str) -> String {
    let hidden: Vec<usize> = hidden(text).map(|(at, _)| at).collect();
    let shown = text.char_indices().map(|(at, c)| if hidden.binary_search(&at).is_ok() { '\u{fffd}' } else { c });
    shown.collect()
}

/// Returns the invisible characters of a name with their byte offsets. Joiners between letters of scripts that need
/// them (Persian, Hindi), and characters that combine several pictures into one, are not among them.
pub fn hidden(name: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    name.char_indices().filter(move |(at, c)| {
        let before = name[..*at].chars().next_back();
        let after = name[at + c.len_utf8()..].chars().next();
        match *c {
            c if is_special(c) => !has_effect(c, before, after),
            c => is_break(c) || is_invisible(c),
        }
    })
}

/// Returns whether a character is a control or begins a line.
fn is_break(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Returns whether a character is invisible, but may change how its neighbours look: joiners and variation selectors.
fn is_special(c: char) -> bool {
    is_selector(c) || matches!(c, '\u{200c}' | '\u{200d}')
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe0e}' | '\u{fe0f}')
}

/// Returns whether a special character has an effect between these characters. U+200C stands between letters only,
/// U+200D between letters or pictures, a selector behind a picture or within a keycap (`1`, U+FE0F, U+20E3).
fn has_effect(special: char, before: Option<char>, after: Option<char>) -> bool {
    may_follow(special, before)
        && match special {
            c if is_selector(c) => before.is_some_and(of_picture) || after == Some('\u{20e3}'),
            _ if before.is_some_and(of_script) => after.is_some_and(of_script),
            _ => after.is_some_and(of_picture),
        }
}

/// Returns whether a special character may have an effect behind this character.
fn may_follow(special: char, before: Option<char>) -> bool {
    before.is_some_and(|before| match special {
        '\u{200c}' => of_script(before),
        '\u{200d}' => of_script(before) || of_picture(before) || is_selector(before),
        _ => of_picture(before) || matches!(before, '0'..='9' | '#' | '*'),
    })
}

/// Returns whether a character belongs to a script that needs joiners.
fn of_script(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{1fff}')
}

/// Returns whether a character is a picture.
fn of_picture(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{2139}'..='\u{2bff}' | '\u{3030}'..='\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Returns the form by which names are compared without case: composed and case folded. `José` is not `Jose`.
pub fn caseless(text: &str) -> String {
    caseless::default_case_fold_str(&text.trim().nfc().collect::<String>()).nfc().collect()
}

/// Folds text for search and order: compatibility decomposition, without marks, case folded.
///
/// `Ünïcode Straße` and `UNICODE STRASSE` fold alike. Folding a folded text changes nothing, so a stored folding and a
/// fresh one can be compared.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = fold_once(text);
    // Case folding can itself decompose (U+0345 becomes an iota), and marks may follow. Few texts need a second round.
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
    fn a_text_of_invisible_characters_is_blank() {
        for text in
            ["", " \t\n", "\u{200b}", "\u{feff}\u{2060} \u{200d}", "\u{ad}\u{3164}\u{fe0f}", "\u{7}", "\u{e0041}"]
        {
            assert!(is_blank(text), "{text:?}");
        }
        for text in ["a", "\u{200b}a", "👩\u{200d}🚒", "\u{301}", "\u{600}"] {
            assert!(!is_blank(text), "{text:?}");
        }
    }

    #[test]
    fn a_name_holds_nothing_that_cannot_be_seen() {
        for hidden in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain([
            '\u{200e}',
            '\u{200f}',
            '\u{61c}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{ad}',
            '\u{2060}',
            '\u{feff}',
            '\u{e0041}',
            '\u{7}',
            '\u{fe0f}',
            '\n',
        ]) {
            let name = format!("tier{hidden}2");
            assert_eq!(label("name", &name, 99).expect_err("hidden").code(), crate::domain::Code::Invalid, "{name:?}");
            assert!(label("name", &visible(&name), 99).is_ok(), "{name:?}");
        }
        for name in [
            "Müller",
            "夜勤",
            "👩\u{200d}🚒",
            "❤\u{fe0f}",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "אבג",
            "#1 (SOC)",
            "1\u{fe0f}\u{20e3}",
            "🏳\u{fe0f}\u{200d}🌈",
        ] {
            assert_eq!(label("name", name, 99).ok().as_deref(), Some(name));
            assert_eq!(visible(name), name);
        }
        assert_eq!(visible("a\tb\u{202e}c\u{2028}d"), "a bc d");
        for name in [
            "admin1\u{200d}2",
            "admin1\u{fe0f}2",
            "admin\u{200d}\u{200d}12",
            "admin12\u{fe0f}",
            "admin1\u{fe0f}\u{200d}2",
        ] {
            assert!(label("name", name, 99).is_err(), "{name:?} looks like admin12");
            assert_eq!(visible(name), "admin12");
        }
        for name in ["a\u{200d}\u{fe0f}", "\u{1680}\u{200c}\u{627}", "a\u{200d}\u{fe0f}\u{fe0f}\u{fe0f}"] {
            assert!(label("name", &visible(name), 99).is_ok(), "nothing hidden is left of {name:?}");
        }
        // A name of 3 MB, whose characters are hidden one because of the other.
        assert_eq!(visible(&format!("a{}", "\u{fe0f}".repeat(1_000_000))), "a");
    }

    #[test]
    fn a_line_of_a_terminal_shows_where_something_is_hidden() {
        assert_eq!(
            printable("a\u{202e}b\nc\u{2066}d\u{2069}e\u{200b}\u{1b}[2J"),
            "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}\u{fffd}[2J"
        );
        for text in ["two  spaces ", "👩\u{200d}🚒", "می\u{200c}خواهم", "\u{fffd}"] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert!(at_most("text", &"🦀".repeat(5), 5).is_ok());
        assert!(at_most("text", &"漢".repeat(6), 5).is_err());
    }

    proptest! {
        #[test]
        fn what_is_visible_of_a_name_is_a_name(text in "[a1\u{20e3}\u{200b}\u{200c}\u{200d}\u{fe0f}\u{1680}ا🚒\n ]{0,12}") {
            let name = visible(&text);
            prop_assert!(is_blank(&text) || label("name", &name, 99).is_ok(), "{:?} of {:?}", name, text);
            prop_assert_eq!(visible(&name), name);
            if hidden(text.trim()).next().is_none() {
                prop_assert_eq!(visible(&text), text.trim());
            }
        }

        #[test]
        fn folding_twice_is_folding_once(text in any::<String>()) {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
