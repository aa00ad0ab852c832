//! Findings for people and for programs.

use std::fmt::Write as _;

use cni_types::text::plain;
use serde::Serialize;

use super::Severity;
use super::checks::Finding;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    code: &'a str,
    severity: Severity,
    title: &'a str,
    found: &'a str,
    why: &'a str,
    mend: &'a str,
}

#[derive(Serialize)]
struct Report<'a> {
    findings: Vec<Shown<'a>>,
}

/// All findings as JSON.
pub(super) fn json(findings: &[Finding]) -> serde_json::Result<String> {
    let shown = findings.iter().map(|finding| Shown {
        code: finding.check.code,
        severity: finding.check.severity,
        title: finding.check.title,
        found: &finding.found,
        why: finding.check.why,
        mend: finding.check.mend,
    });
    let report = Report {
        findings: shown.collect(),
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// One paragraph for each check that found something.
pub(super) fn text(findings: &[Finding], checks: usize) -> String {
    let mut text = String::new();
    let mut before = "";
    for Finding { check, found } in findings {
        if check.code != before {
            let severity = match check.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Notice => "notice",
            };
            if !text.is_empty() {
                text.push('\n');
            }
            let _ = writeln!(text, "{} {severity}: {}", check.code, check.title);
            let _ = writeln!(text, "  why:   {}", check.why);
            let _ = writeln!(text, "  mend:  {}", check.mend);
            before = check.code;
        }
        let _ = writeln!(text, "  found: {}", plain(found));
    }
    if text.is_empty() {
        return format!("{checks} checks found nothing wrong\n");
    }
    let count = |severity| {
        let of_it = findings.iter().filter(|one| one.check.severity == severity);
        of_it.count()
    };
    let _ = writeln!(
        text,
        "\n{checks} checks: {} errors, {} warnings, {} notices",
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Notice)
    );
    text
}
