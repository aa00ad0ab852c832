//! File names from texts that requests choose.

use sha2::{Digest as _, Sha256};

/// The longest file name, leaving room for the prefix of an unfinished file.
const MAX_NAME: usize = 250;

/// Turns a text into one path component, replacing slashes as the device-info specification says.
/// Texts too long for a file name are replaced by their digest.
pub(super) fn component(text: &str) -> String {
    let name = text.replace(['/', '\0'], "-");
    let is_component = !matches!(name.as_str(), "" | "." | "..");
    if is_component && name.len() <= MAX_NAME {
        return name;
    }
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
