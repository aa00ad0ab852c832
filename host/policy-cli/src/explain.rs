//! `cnidaria policy explain`: pages of the documentation, in the terminal.

use clap::{Args, ValueEnum};

use crate::Output;

const CONFIGURATION: &str = include_str!("../../../docs/policies/configuration.md");
const HOOKS: &str = include_str!("../../../docs/policies/hooks.md");
const TESTING: &str = include_str!("../../../docs/policies/testing.md");
const DAEMON: &str = include_str!("../../../deploy/CONFIGURATION.md");

/// What to explain.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The topic
    #[arg(value_enum)]
    topic: Topic,
}

/// A topic of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Topic {
    /// The keys of a policy's configuration
    Config,
    /// Which requests a policy sees
    Match,
    /// What each hook sees and may do
    Hooks,
    /// What a policy may have beyond the request
    Grants,
    /// What a policy may use in one request
    Limits,
    /// The format of cases
    Cases,
}

/// The text of a topic.
pub fn explain(args: &ExplainArgs) -> Output {
    let text = match args.topic {
        Topic::Config => CONFIGURATION,
        Topic::Match => section(CONFIGURATION, "## Match"),
        Topic::Hooks => HOOKS,
        Topic::Grants => section(DAEMON, "### Grants"),
        Topic::Limits => section(DAEMON, "### Limits of a policy"),
        Topic::Cases => TESTING,
    };
    Output::success(without_links(text))
}

/// A section of a page: from its heading to the next one of the same or a higher level.
fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let level = heading.bytes().take_while(|b| *b == b'#').count();
    let Some(start) = page.find(&format!("\n{heading}\n")).map(|at| at + 1) else {
        return page;
    };
    let rest = page.get(start..).unwrap_or_default();
    let mut end = 0;
    let mut is_code = false;
    for line in rest.split_inclusive('\n') {
        is_code ^= line.starts_with("```");
        let hashes = line.bytes().take_while(|b| *b == b'#').count();
        if end > 0 && !is_code && (1..=level).contains(&hashes) {
            break;
        }
        end += line.len();
    }
    rest.get(..end).unwrap_or(rest)
}

/// Links as their text alone.
fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("](") {
        let (before, link) = rest.split_at(at);
        let begin = before.rfind('[').unwrap_or(at);
        plain.push_str(before.get(..begin).unwrap_or_default());
        plain.push_str(before.get(begin + 1..).unwrap_or_default());
        let end = link.find(')').map_or(link.len(), |end| end + 1);
        rest = link.get(end..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_its_section() {
        let text = |topic| explain(&ExplainArgs { topic }).text;
        for (topic, part) in [
            (Topic::Config, "| `failurePolicy` |"),
            (Topic::Match, "| `namespaceLabels` |"),
            (Topic::Hooks, "| `before-add` |"),
            (Topic::Grants, "| `rewrite-result` |"),
            (Topic::Limits, "| `stackBytes` |"),
            (Topic::Cases, "| `delegates` |"),
        ] {
            assert!(text(topic).contains(part), "{topic:?}");
            assert!(!text(topic).contains("]("), "{topic:?}");
        }
        assert!(!text(Topic::Limits).contains("### Grants"));
    }

    #[test]
    fn a_link_is_its_text() {
        assert_eq!(
            without_links("see [Limits](a.md), or [b](c)."),
            "see Limits, or b."
        );
    }
}
