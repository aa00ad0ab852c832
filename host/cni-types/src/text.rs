//! Text of tenants and guests that people read.

use std::borrow::Cow;

/// Whether a character changes how the text around it is shown, or hides in it: control characters,
/// line and paragraph separators, marks of the bidirectional algorithm, and characters without width.
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
        )
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with the characters that deceive escaped, such as `\n` and `\u{202e}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, deceives)
}

/// Like [`plain`], for text of several lines: line ends and tabs stay.
pub fn plain_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| deceives(c) && !matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_wrong: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_wrong) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_wrong(c) {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_deceive_are_escaped() {
        for c in ('\0'..'\u{20}').chain('\u{7f}'..'\u{a0}') {
            assert!(deceives(c), "{c:?}");
        }
        for c in ('\u{200b}'..='\u{200f}')
            .chain('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
            .chain(['\u{feff}', '\u{e0041}'])
        {
            let text = format!("a{c}b");
            assert!(plain(&text).is_ascii(), "{text:?}");
            assert!(plain_lines(&text).is_ascii(), "{text:?}");
        }
        assert_eq!(plain("a\u{1b}[2Jb\nc\tä"), "a\\u{1b}[2Jb\\nc\\tä");
        assert_eq!(plain_lines("a\u{202e}\n\tb"), "a\\u{202e}\n\tb");
        assert!(matches!(plain("übung 日本"), Cow::Borrowed(_)));
    }
}
