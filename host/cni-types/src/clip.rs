//! Hostile text in error messages: enough of it to recognise, and no more.

/// Characters that a message quotes.
const LIMIT: usize = 120;

/// The beginning of `text`, with an ellipsis where something was cut off.
pub(crate) fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().take(LIMIT).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}
