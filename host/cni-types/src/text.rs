//! Text of tenants and guests that people read.

/// Whether a character changes how the text around it is shown: control characters, line and
/// paragraph separators, and marks of the bidirectional algorithm.
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
