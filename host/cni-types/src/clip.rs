//! Truncates untrusted text for error messages.

/// Maximum number of characters quoted.
const LIMIT: usize = 120;

/// The beginning of `text`, with an ellipsis if truncated.
pub(crate) fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().take(LIMIT).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}
