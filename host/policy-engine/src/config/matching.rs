//! Which requests a policy sees.

use std::collections::BTreeMap;

use super::members::Members;
use crate::model::request::{Command, RequestFacts};
use crate::model::words::words;

/// Which requests a policy sees: all given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Match {
    /// Namespaces of the pod; a trailing `*` matches anything.
    namespaces: Vec<String>,
    /// Labels of the pod's namespace; the value `*` matches any.
    namespace_labels: BTreeMap<String, String>,
    /// Labels of the pod; the value `*` matches any.
    pod_labels: BTreeMap<String, String>,
    /// `namespace/name` or name of the network; a trailing `*` matches anything. Applies to hooks
    /// of one attachment.
    networks: Vec<String>,
    verbs: Vec<Verb>,
    /// Alternative conditions, from a second configuration.
    either: Option<Box<Match>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
}

words!(Verb {
    Add: "ADD",
    Del: "DEL",
    Check: "CHECK",
    Gc: "GC",
    Status: "STATUS",
});

impl Match {
    /// Reads the `match` of a configuration. A faulty condition is ignored, which matches more.
    pub(super) fn read(members: &mut Members<'_>) -> Self {
        Self {
            namespaces: patterns(members, "namespaces"),
            namespace_labels: members.read("namespaceLabels").given().unwrap_or_default(),
            pod_labels: members.read("podLabels").given().unwrap_or_default(),
            networks: patterns(members, "networks"),
            verbs: members.read("verbs").given().unwrap_or_default(),
            either: None,
        }
    }

    /// The patterns of namespaces.
    #[cfg(feature = "compile")]
    pub(crate) fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// The patterns of networks.
    #[cfg(feature = "compile")]
    pub(crate) fn networks(&self) -> &[String] {
        &self.networks
    }

    /// Matches what either of the two matches.
    pub(super) fn or(mut self, other: Self) -> Self {
        if self != other {
            self.either = Some(Box::new(other));
        }
        self
    }

    /// Whether the policy sees the request.
    ///
    /// GC and STATUS have no pod, so only the verb counts. On DEL the pod's labels may be gone, and
    /// the namespace's unknown: unknown values match, so that hiding them cannot evade a guard.
    pub(crate) fn request(&self, facts: &RequestFacts) -> bool {
        self.request_alone(facts)
            || self
                .either
                .as_ref()
                .is_some_and(|other| other.request(facts))
    }

    fn request_alone(&self, facts: &RequestFacts) -> bool {
        if !self.verbs.is_empty() && !self.verbs.iter().any(|verb| verb.is(facts.command)) {
            return false;
        }
        let Some(pod) = &facts.pod else {
            return true;
        };
        let namespace = self.namespaces.is_empty()
            || self
                .namespaces
                .iter()
                .any(|pattern| glob(pattern, &pod.namespace));
        let namespace_labels = match &facts.namespace_labels {
            Some(labels) => selects(&self.namespace_labels, labels),
            None => true,
        };
        let pod_gone = facts.command == Command::Del && facts.labels.is_empty();
        namespace && namespace_labels && (pod_gone || selects(&self.pod_labels, &facts.labels))
    }

    /// Whether the policy could see requests of pods in a namespace with these labels, if it had them.
    pub(crate) fn tenant(
        &self,
        namespace: &str,
        labels: &dyn Fn() -> BTreeMap<String, String>,
    ) -> bool {
        let named = self.namespaces.is_empty()
            || self
                .namespaces
                .iter()
                .any(|pattern| glob(pattern, namespace));
        let own = named
            && (self.namespace_labels.is_empty() || selects(&self.namespace_labels, &labels()));
        own || self
            .either
            .as_ref()
            .is_some_and(|other| other.tenant(namespace, labels))
    }

    /// Whether the policy sees an attachment of this network.
    pub(crate) fn network(&self, network: &str) -> bool {
        self.network_alone(network)
            || self
                .either
                .as_ref()
                .is_some_and(|other| other.network(network))
    }

    fn network_alone(&self, network: &str) -> bool {
        let name = network.rsplit('/').next().unwrap_or(network);
        self.networks.is_empty()
            || self
                .networks
                .iter()
                .any(|pattern| glob(pattern, if pattern.contains('/') { network } else { name }))
    }

    /// Whether the policy matches on networks.
    pub(crate) fn names_networks(&self) -> bool {
        !self.networks.is_empty()
            && self
                .either
                .as_ref()
                .is_none_or(|other| other.names_networks())
    }

    /// Whether the policy matches on labels of the pod's namespace.
    pub(crate) fn names_namespace_labels(&self) -> bool {
        !self.namespace_labels.is_empty()
            || self
                .either
                .as_ref()
                .is_some_and(|other| other.names_namespace_labels())
    }
}

/// Reads a list of patterns, or rejects it as a whole if one of them can match nothing.
fn patterns(members: &mut Members<'_>, key: &'static str) -> Vec<String> {
    let patterns: Vec<String> = members.read(key).given().unwrap_or_default();
    let misplaced =
        |pattern: &&String| pattern.trim_end_matches('*').contains('*') || pattern.is_empty();
    match patterns.iter().find(misplaced) {
        Some(pattern) => {
            let reason =
                format!("{pattern:?}: '*' may stand at the end alone, and a pattern is not empty");
            members.wrong(key, reason);
            Vec::new()
        }
        None => patterns,
    }
}

impl Verb {
    fn is(self, command: Command) -> bool {
        let own = match self {
            Self::Add => Command::Add,
            Self::Del => Command::Del,
            Self::Check => Command::Check,
            Self::Gc => Command::Gc,
            Self::Status => Command::Status,
        };
        own == command
    }
}

fn selects(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| {
        labels
            .get(key)
            .is_some_and(|label| value == "*" || value == label)
    })
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::members::Source;
    use crate::model::request::PodRef;

    fn facts(command: Command, namespace: &str) -> RequestFacts {
        RequestFacts {
            command,
            container_id: "c".to_owned(),
            pod: Some(PodRef {
                namespace: namespace.to_owned(),
                name: "p".to_owned(),
                uid: String::new(),
            }),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            annotations: BTreeMap::new(),
            pod_spec: crate::model::request::PodSpec::default(),
            namespace_labels: Some([("team".to_owned(), "a".to_owned())].into()),
            node_name: "n".to_owned(),
        }
    }

    fn matching(json: &str) -> Match {
        let file = std::path::Path::new("match");
        let mut members = Members::of_file(Source { file, text: json }).unwrap();
        let matching = Match::read(&mut members);
        assert!(members.finish().is_empty(), "{json}");
        matching
    }

    #[test]
    fn every_condition_must_hold() {
        let check = |json: &str, expected: bool| {
            assert_eq!(
                matching(json).request(&facts(Command::Add, "team-a")),
                expected,
                "{json}"
            );
        };
        check("{}", true);
        check(r#"{"namespaces":["team-a"]}"#, true);
        check(r#"{"namespaces":["team-*"]}"#, true);
        check(r#"{"namespaces":["team"]}"#, false);
        check(r#"{"podLabels":{"app":"web"}}"#, true);
        check(r#"{"podLabels":{"app":"*"}}"#, true);
        check(r#"{"podLabels":{"app":"db"}}"#, false);
        check(r#"{"podLabels":{"tier":"*"}}"#, false);
        check(r#"{"namespaceLabels":{"team":"a"}}"#, true);
        check(r#"{"namespaceLabels":{"team":"b"}}"#, false);
        check(
            r#"{"namespaces":["team-a"],"podLabels":{"app":"db"}}"#,
            false,
        );
        check(r#"{"verbs":["ADD"]}"#, true);
        check(r#"{"verbs":["DEL","CHECK"]}"#, false);
    }

    #[test]
    fn unknown_labels_count_as_a_match() {
        let mut hidden = facts(Command::Add, "x");
        hidden.namespace_labels = None;
        assert!(matching(r#"{"namespaceLabels":{"team":"b"}}"#).request(&hidden));
        let mut gone = facts(Command::Del, "x");
        gone.labels.clear();
        assert!(matching(r#"{"podLabels":{"app":"db"}}"#).request(&gone));
        let mut bare = facts(Command::Add, "x");
        bare.labels.clear();
        assert!(!matching(r#"{"podLabels":{"app":"db"}}"#).request(&bare));
    }

    #[test]
    fn networks_match_by_full_name_or_by_name() {
        let check = |pattern: &str, network: &str, expected: bool| {
            let matching = matching(&format!(r#"{{"networks":["{pattern}"]}}"#));
            assert_eq!(matching.network(network), expected, "{pattern} {network}");
        };
        check("storage", "default/storage", true);
        check("default/storage", "default/storage", true);
        check("other/storage", "default/storage", false);
        check("default/*", "default/storage", true);
        check("stor*", "default/storage", true);
        check("cluster", "cluster", true);
        assert!(matching("{}").network("anything"));
    }
}
