//! The names by which manifests may describe a container whose runtime does not know Kubernetes,
//! such as podman, nerdctl or cnitool.

use cni_types::args::ContainerId;

use super::pod::PodRef;

/// The pod's namespace if the runtime sends none.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The longest name of a Kubernetes object.
const MAX_NAME: usize = 253;
/// Length of a full container id in hexadecimal characters.
const ID_CHARS: usize = 64;

/// What such a runtime sends about a container.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// `CNI_CONTAINERID`.
    pub container_id: &'a ContainerId,
    /// `K8S_POD_NAMESPACE`: podman before 3.5 sends the container's name.
    pub namespace: Option<&'a str>,
    /// `K8S_POD_NAME`: podman sends the container's name.
    pub name: Option<&'a str>,
    /// `NERDCTL_CNI_DHCP_HOSTNAME`: nerdctl sends the container's host name.
    pub hostname: Option<&'a str>,
}

/// Candidate pod names in order of preference, the container's own included; all are valid names of
/// Kubernetes objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerNames {
    candidates: Vec<(String, String)>,
    own: PodRef,
}

impl ContainerNames {
    /// Derives the names from what the runtime sent; invalid names are skipped.
    pub fn of(sent: Sent<'_>) -> Self {
        let id = sent.container_id.as_str();
        let mut names: Vec<String> = Vec::new();
        for name in [sent.name, sent.hostname, Some(id), bare_id(id)] {
            // Unlike pods' names, containers' may have capitals and underscores.
            let spellings = name
                .into_iter()
                .flat_map(|name| [Some(name.to_owned()), spelt(name)]);
            for name in spellings.flatten().filter(|name| is_object_name(name)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let own = names.first().cloned().unwrap_or_default();
        let in_namespace = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        let mut candidates = Vec::new();
        if let (Some(namespace), Some(name)) = (sent.namespace, sent.name)
            && is_object_name(namespace)
            && is_object_name(name)
        {
            candidates.push(in_namespace(namespace, name));
        }
        candidates.extend(
            names
                .iter()
                .map(|name| in_namespace(DEFAULT_NAMESPACE, name)),
        );
        let own = PodRef {
            namespace: DEFAULT_NAMESPACE.to_owned(),
            name: own,
            uid: String::new(),
        };
        Self { candidates, own }
    }

    /// The pod found for a container when it was attached.
    pub fn recorded(pod: &PodRef) -> Self {
        Self {
            candidates: vec![(pod.namespace.clone(), pod.name.clone())],
            own: pod.clone(),
        }
    }

    /// Namespaces and names in search order.
    pub fn candidates(&self) -> &[(String, String)] {
        &self.candidates
    }

    /// The container's own pod, if no manifest has any of the names.
    pub fn own(&self) -> &PodRef {
        &self.own
    }
}

/// The id without nerdctl's prefix, a containerd namespace: `default-<id>`.
fn bare_id(id: &str) -> Option<&str> {
    let (_, bare) = id.rsplit_once('-')?;
    let is_id = bare.len() == ID_CHARS && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(bare)
}

/// The nearest valid object name: `Nifty_Pasteur` becomes `nifty-pasteur`. `None` if it has no
/// letter or digit.
fn spelt(name: &str) -> Option<String> {
    let mut spelt: String = name
        .chars()
        .take(MAX_NAME)
        .map(|c| {
            if c == '_' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect();
    let end = spelt.trim_end_matches(['-', '.']).len();
    spelt.truncate(end);
    (!spelt.is_empty()).then_some(spelt)
}

/// Whether podman or nerdctl allow `name` for a container. Prevents names from being paths.
pub(crate) fn is_container_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Whether `text` is a DNS-1123 subdomain, as pod names must be; this also prevents paths.
pub(crate) fn is_object_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= MAX_NAME
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && edge(text.as_bytes().first())
        && edge(text.as_bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn names(id: &str, sent: [Option<&str>; 3]) -> (Vec<String>, String) {
        let [namespace, name, hostname] = sent;
        let container_id = &ContainerId::new(id).unwrap();
        let names = ContainerNames::of(Sent {
            container_id,
            namespace,
            name,
            hostname,
        });
        let of = |(namespace, name): &(String, String)| format!("{namespace}/{name}");
        let candidates = names.candidates().iter().map(of).collect();
        (candidates, names.own().to_string())
    }

    fn check(id: &str, sent: [Option<&str>; 3], candidates: &[&str], own: &str) {
        let (found, found_own) = names(id, sent);
        assert_eq!(found, candidates, "{id} {sent:?}");
        assert_eq!(found_own, own, "{id} {sent:?}");
    }

    #[test]
    fn podman_sends_the_containers_name() {
        let all = ["default/web", "default/c1"];
        check("c1", [None, Some("web"), None], &all, "default/web");
    }

    #[test]
    fn names_are_spelt_as_kubernetes_spells_them() {
        for (name, spelt) in [
            ("nifty_pasteur", "default/nifty-pasteur"),
            ("Web", "default/web"),
            ("web_", "default/web"),
            ("a.B_c-", "default/a.b-c"),
        ] {
            check(
                "c1",
                [None, Some(name), None],
                &[spelt, "default/c1"],
                spelt,
            );
        }
    }

    #[test]
    fn an_old_podman_sends_the_name_as_namespace() {
        let sent = [Some("web"), Some("web"), None];
        check(
            "c1",
            sent,
            &["web/web", "default/web", "default/c1"],
            "default/web",
        );
        let sent = [Some("a_b"), Some("a_b"), None];
        check("c1", sent, &["default/a-b", "default/c1"], "default/a-b");
    }

    #[test]
    fn nerdctl_id_and_hostname_are_parsed() {
        let id = format!("default-{ID}");
        let all = [
            "default/web".to_owned(),
            format!("default/{id}"),
            format!("default/{ID}"),
        ];
        let all = all.each_ref().map(String::as_str);
        check(&id, [None, None, Some("web")], &all, "default/web");
    }

    #[test]
    fn a_container_has_at_least_its_id() {
        check(
            "Cnitool-1_",
            [None; 3],
            &["default/cnitool-1"],
            "default/cnitool-1",
        );
        check("a__", [None; 3], &["default/a"], "default/a");
    }

    #[test]
    fn a_host_name_that_is_none_is_left_out() {
        check(
            "c1",
            [None, None, Some("../web")],
            &["default/c1"],
            "default/c1",
        );
        check("c1", [None, None, Some("")], &["default/c1"], "default/c1");
        check("c1", [None, None, Some("é")], &["default/c1"], "default/c1");
    }
}
