//! The files inside this binary: the SDK, the WIT package and the templates of projects.

/// All embedded files, sorted by path.
static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The files below a directory, with paths relative to it.
pub(crate) fn below(dir: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().filter_map(move |(path, text)| {
        let path = path.strip_prefix(dir)?.strip_prefix('/')?;
        Some((path, *text))
    })
}

/// One file.
pub(crate) fn text(path: &str) -> &'static str {
    let mut files = FILES.iter();
    files
        .find_map(|(known, text)| (*known == path).then_some(*text))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_wit_and_templates_are_embedded() {
        let paths = |dir| below(dir).map(|(path, _)| path).collect::<Vec<_>>();
        assert!(paths("sdk/guest-sdk").contains(&"src/lib.rs"));
        assert!(paths("sdk/wit").contains(&"policy-0.3.0/types.wit"));
        assert!(paths("templates/rust").contains(&"src/lib.rs.in"));
    }

    #[test]
    fn the_embedded_sdk_needs_no_workspace() {
        for (path, text) in below("sdk").filter(|(path, _)| path.ends_with("Cargo.toml")) {
            assert!(!text.contains("workspace"), "{path}: {text}");
        }
    }
}
