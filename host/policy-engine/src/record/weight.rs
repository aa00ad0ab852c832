//! How much memory the notes of a request hold, about: what is waiting to be written is bounded.

use cni_types::json::Document;
use cni_types::result::{CniResult, Interface, IpConfig, Route};

use super::answer::Answer;
use super::tape::{HookNotes, Tape, Value};
use crate::model::report::Finding;
use crate::model::request::{PolicyAttachment, PortMapping, Selection};
use crate::transaction::OutcomeDraft;

/// Bytes of a hook's or a turn's notes beside what is counted.
const NOTES: usize = 512;

impl Tape {
    /// About the bytes of memory that it keeps.
    pub(super) fn weight(&self) -> usize {
        let texts = self.facts.labels.iter().chain(&self.facts.annotations);
        let texts = texts.chain(self.facts.namespace_labels.iter().flatten());
        let facts: usize = texts.map(|(key, value)| key.len() + value.len()).sum();
        let calls = self.calls.iter().map(HookNotes::weight);
        facts + calls.sum::<usize>()
    }
}

impl HookNotes {
    fn weight(&self) -> usize {
        let mut weight = NOTES + self.offered.weight();
        let mut before = &self.offered;
        for turn in &self.turns {
            // An edited value is a copy.
            if !turn.input.is(before) {
                weight += turn.input.weight();
            }
            before = &turn.input;
            let edits = turn.edits.as_ref().map_or(0, |(patch, _)| patch.len());
            let outside = turn.outside.as_ref().map_or(0, |outside| outside.weight());
            let findings: usize = turn.findings.iter().map(finding).sum();
            weight += NOTES + edits + outside + findings + turn.answer.weight();
        }
        weight + self.left.as_ref().map_or(0, Value::weight)
    }
}

impl Answer {
    fn weight(&self) -> usize {
        match self {
            Self::Accept => 0,
            Self::Deny { message, .. } => message.len(),
            Self::Failed { reason, .. } => reason.len(),
        }
    }
}

impl Value {
    fn weight(&self) -> usize {
        match self {
            Self::Select(draft) | Self::ValidateSelections(draft) => {
                let slots = draft.origins().map(|(_, _, one)| of_selection(one));
                slots.sum::<usize>() + draft.default().map_or(0, of_selection)
            }
            Self::BeforeAdd(draft, _) => of(draft.attachment()),
            Self::ValidatePlan(plan) => of_plan(plan),
            Self::Finalize(plan, finale) | Self::ValidateResult(plan, finale) => {
                let statuses = finale.statuses.iter().map(|status| of_outcome(status));
                of_plan(plan) + of_outcome(&finale.result) + statuses.sum::<usize>()
            }
            Self::AddFailed(plan, why) => of_plan(plan) + why.message.len(),
            Self::AfterAdd(attachment, outcome)
            | Self::Check(attachment, outcome)
            | Self::Del(attachment, outcome) => of(attachment) + of_outcome(outcome),
            Self::Gc(valid) => valid.iter().map(pair).sum(),
            Self::Status => 0,
        }
    }
}

fn of_plan(plan: &[PolicyAttachment]) -> usize {
    plan.iter().map(of).sum()
}

fn of(attachment: &PolicyAttachment) -> usize {
    let args = attachment.cni_args.as_ref();
    NOTES
        + attachment.conf.memory()
        + args.map_or(0, Document::memory)
        + attachment.fixed.runtime_config.len()
        + texts(&attachment.ips)
        + attachment.port_mappings.len() * size_of::<PortMapping>()
}

fn of_selection(selection: &Selection) -> usize {
    let args = selection.cni_args.as_ref();
    NOTES
        + args.map_or(0, Document::memory)
        + texts(&selection.ips)
        + texts(&selection.default_route)
        + selection.port_mappings.len() * size_of::<PortMapping>()
}

fn of_outcome(outcome: &OutcomeDraft) -> usize {
    let CniResult {
        interfaces,
        ips,
        routes,
        dns,
        ..
    } = outcome.result();
    let interfaces = interfaces.iter().map(|one| {
        let texts = [&one.mac, &one.sandbox, &one.socket_path, &one.pci_id];
        let texts = texts.into_iter().flatten().map(String::len);
        size_of::<Interface>() + one.name.len() + texts.sum::<usize>()
    });
    let tags = outcome.tags().iter().chain(outcome.earlier_tags());
    NOTES
        + interfaces.sum::<usize>()
        + ips.len() * size_of::<IpConfig>()
        + routes.len() * size_of::<Route>()
        + texts(&dns.nameservers)
        + texts(&dns.search)
        + texts(&dns.options)
        + tags
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
}

fn finding(finding: &Finding) -> usize {
    let fields: usize = finding.fields.iter().map(pair).sum();
    NOTES + finding.code.len() + finding.message.len() + fields
}

fn pair((one, other): &(String, String)) -> usize {
    2 * size_of::<String>() + one.len() + other.len()
}

fn texts(texts: &[String]) -> usize {
    texts
        .iter()
        .map(|text| size_of::<String>() + text.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cni_types::json::{Limits, Pointer};
    use cni_types::version::ConfVersion;

    use super::super::tape::TurnNotes;
    use super::*;
    use crate::model::report::{Hook, Severity};
    use crate::transaction::SelectionsDraft;

    #[test]
    fn what_policies_and_delegates_give_is_counted() {
        let large = "x".repeat(1 << 16);
        let check = |value: Value, expected: bool| {
            assert_eq!(value.weight() >= large.len(), expected, "{value:?}");
        };
        let args = format!(r#"{{"a":"{large}"}}"#);
        let selection = Selection {
            cni_args: Some(Document::parse(&args, Limits::default()).unwrap()),
            ..Selection::default()
        };
        let selections = |all| Value::Select(Arc::new(SelectionsDraft::of_pod(all)));
        check(selections(vec![Selection::default()]), false);
        check(selections(vec![selection]), true);
        let version = ConfVersion::parse("1.0.0").unwrap();
        let result = format!(r#"{{"cniVersion":"1.0.0","dns":{{"search":["{large}"]}}}}"#);
        let result = CniResult::parse(result.as_bytes(), version).unwrap();
        assert!(of_outcome(&OutcomeDraft::new(result)) >= large.len());
        check(Value::Gc([(large.clone(), String::new())].into()), true);

        let mut turn = TurnNotes::new(&"p".into(), "d".into(), Value::Status);
        turn.findings.push(Finding {
            policy: "p".to_owned(),
            hook: Hook::Status,
            severity: Severity::Info,
            code: "c".to_owned(),
            message: large.clone(),
            fields: Vec::new(),
        });
        let notes = HookNotes {
            hook: Hook::Status,
            offered: Value::Status,
            turns: vec![turn],
            left: None,
        };
        assert!(notes.weight() >= large.len());
    }

    #[test]
    fn small_values_and_their_index_are_counted() {
        let members: Vec<String> = (0..4_000).map(|n| format!(r#""{n}":0"#)).collect();
        let text = format!(r#"{{"o":{{{}}}}}"#, members.join(","));
        let mut args = Document::parse(&text, Limits::default()).unwrap();
        let weight = |args: &Document| {
            of_selection(&Selection {
                cni_args: Some(args.clone()),
                ..Selection::default()
            })
        };
        let plain = weight(&args);
        assert!(plain >= 4 * text.len(), "{plain}");
        for number in 0..100 {
            let at = Pointer::root().child("o").child(number.to_string());
            args.set(&at, "1").unwrap();
        }
        let indexed = weight(&args);
        assert!(indexed >= plain + 4_000 * 100, "{plain} {indexed}");
    }
}
