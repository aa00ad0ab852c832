//! `docs/operations/doctor.md` is generated from the table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::doctor::Severity;
use crate::doctor::checks::{Check, GROUPS};

const DOCUMENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/operations/doctor.md"
);
const BEGIN: &str = "<!-- checks -->\n";
const END: &str = "<!-- end of checks -->\n";

fn section(check: &Check) -> String {
    let severity = match check.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
    };
    let when = match check.pre {
        true => "; also with `--pre`",
        false => "",
    };
    let title: String = check
        .title
        .chars()
        .take(1)
        .flat_map(char::to_uppercase)
        .collect();
    let title = title + check.title.get(1..).unwrap_or_default();
    format!(
        "#### {}\n\n**{title}** ({severity}{when})\n\n{}\n\nTo mend it: {}\n\n",
        check.code, check.why, check.mend
    )
}

/// `CNIDARIA_WRITE_DOCS=1 cargo test -p cnidaria-node-cli document` writes the document.
#[test]
fn the_document_has_a_section_for_each_check() {
    let mut sections = String::from("\n");
    for (title, checks) in GROUPS {
        let _ = write!(sections, "### {title}\n\n");
        sections.extend(checks.iter().map(section));
    }
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let from = text.find(BEGIN).unwrap() + BEGIN.len();
    let to = text.find(END).unwrap();
    let mut expected = text.clone();
    expected.replace_range(from..to, &sections);
    if std::env::var_os("CNIDARIA_WRITE_DOCS").is_some() {
        std::fs::write(DOCUMENT, &expected).unwrap();
        return;
    }
    assert!(text == expected, "{DOCUMENT} is out of date");
}

#[test]
fn codes_are_unique() {
    let codes: Vec<&str> = GROUPS
        .iter()
        .flat_map(|(_, checks)| *checks)
        .map(|check| check.code)
        .collect();
    let distinct: BTreeSet<&str> = codes.iter().copied().collect();
    assert_eq!(distinct.len(), codes.len());
    assert!(codes.len() >= 40, "{}", codes.len());
}
