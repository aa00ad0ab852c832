//! The kinds of objects that the server serves, and their paths.

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) subresources: &'static [&'static str],
    /// Field selector names and the JSON pointers they refer to.
    pub(crate) fields: &'static [(&'static str, &'static str)],
}

const NAME: (&str, &str) = ("metadata.name", "/metadata/name");
const NAMESPACE: (&str, &str) = ("metadata.namespace", "/metadata/namespace");

pub(crate) const KINDS: [Kind; 11] = [
    Kind {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        namespaced: true,
        subresources: &["status"],
        fields: &[
            NAME,
            NAMESPACE,
            ("spec.nodeName", "/spec/nodeName"),
            ("status.phase", "/status/phase"),
        ],
    },
    Kind {
        group: "",
        version: "v1",
        kind: "Event",
        plural: "events",
        namespaced: true,
        subresources: &[],
        fields: &[
            NAME,
            NAMESPACE,
            ("involvedObject.uid", "/involvedObject/uid"),
            ("reason", "/reason"),
        ],
    },
    Kind {
        group: "",
        version: "v1",
        kind: "Namespace",
        plural: "namespaces",
        namespaced: false,
        subresources: &[],
        fields: &[NAME],
    },
    Kind {
        group: "",
        version: "v1",
        kind: "Node",
        plural: "nodes",
        namespaced: false,
        subresources: &["status"],
        fields: &[NAME],
    },
    Kind {
        group: "k8s.cni.cncf.io",
        version: "v1",
        kind: "NetworkAttachmentDefinition",
        plural: "network-attachment-definitions",
        namespaced: true,
        subresources: &[],
        fields: &[NAME, NAMESPACE],
    },
    Kind {
        group: "certificates.k8s.io",
        version: "v1",
        kind: "CertificateSigningRequest",
        plural: "certificatesigningrequests",
        namespaced: false,
        subresources: &["status"],
        fields: &[NAME, ("spec.signerName", "/spec/signerName")],
    },
    Kind {
        group: "resource.k8s.io",
        version: "v1",
        kind: "ResourceClaim",
        plural: "resourceclaims",
        namespaced: true,
        subresources: &[],
        fields: &[NAME, NAMESPACE],
    },
    Kind {
        group: "apps",
        version: "v1",
        kind: "DaemonSet",
        plural: "daemonsets",
        namespaced: true,
        subresources: &["status"],
        fields: &[NAME, NAMESPACE],
    },
    Kind {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        namespaced: false,
        subresources: &[],
        fields: &[],
    },
    Kind {
        group: "cnidaria.dev",
        version: "v1alpha1",
        kind: "PolicyNodeStatus",
        plural: "policynodestatuses",
        namespaced: false,
        subresources: &["status"],
        fields: &[NAME],
    },
    Kind {
        group: "resource.k8s.io",
        version: "v1",
        kind: "ResourceSlice",
        plural: "resourceslices",
        namespaced: false,
        subresources: &[],
        fields: &[
            NAME,
            ("spec.nodeName", "/spec/nodeName"),
            ("spec.driver", "/spec/driver"),
        ],
    },
];

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The resource's name in messages: with its group, if any.
    pub(crate) fn resource(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// Finds a kind by a manifest's `kind`.
    pub(crate) fn named(kind: &str) -> Option<&'static Self> {
        KINDS.iter().find(|known| known.kind == kind)
    }
}

/// The resource or object that a path refers to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Target {
    /// Returns `None` if the path's kind is not served.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/').map(str::to_owned);
        let group = match parts.next()?.as_str() {
            "api" => String::new(),
            "apis" => parts.next()?,
            _ => return None,
        };
        let version = parts.next()?;
        let rest: Vec<String> = parts.collect();
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match *rest {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some(name), None),
            [plural, name, subresource] => (plural, Some(name), Some(subresource)),
            _ => return None,
        };
        let kind = KINDS
            .iter()
            .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)?;
        let fits = match namespace {
            Some(_) => kind.namespaced,
            None => !kind.namespaced || name.is_none(),
        };
        let known = subresource.is_none_or(|sub| kind.subresources.contains(&sub));
        (fits && known).then(|| Self {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        })
    }

    /// The resource's name in RBAC: `pods` or `pods/status`.
    pub(crate) fn resource(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.kind.plural),
            None => self.kind.plural.to_owned(),
        }
    }
}
