//! Suggestions for misspelt names.

/// Minimum similarity at which a name is suggested as the correct spelling of another.
const SIMILAR: f64 = 0.7;

/// Longer names are not compared: comparing costs the product of the lengths.
const LONGEST: usize = 64;

/// The known name that `name` is probably a misspelling of.
pub(crate) fn similar<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_lowercase();
    known
        .iter()
        .map(|known| {
            let likeness = strsim::normalized_damerau_levenshtein(&name, &known.to_lowercase());
            (likeness, *known)
        })
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// `did you mean "x"?`, or the known names.
pub(crate) fn hint(name: &str, known: &[&str]) -> String {
    match similar(name, known) {
        Some(known) => format!("did you mean {known:?}?"),
        None => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_name_is_suggested() {
        let known = ["search", "nameservers"];
        assert_eq!(hint("serach", &known), "did you mean \"search\"?");
        assert_eq!(hint("x", &known), "known are search, nameservers");
        assert_eq!(similar(&"s".repeat(100), &known), None);
    }
}
