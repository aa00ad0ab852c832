//! What users may do: only what the installation's own cluster roles allow.

use std::path::Path;

use serde::Deserialize;

use crate::Error;
use crate::users::User;

#[derive(Debug, Default)]
pub(crate) struct Roles {
    roles: Vec<(String, Vec<Rule>)>,
    bindings: Vec<(String, Vec<Subject>)>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Subject {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    rules: Vec<serde_json::Value>,
    #[serde(default)]
    role_ref: Option<RoleRef>,
    #[serde(default)]
    subjects: Vec<Subject>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct RoleRef {
    name: String,
}

/// A request to authorize.
pub(crate) struct Wish<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) name: &'a str,
}

impl Roles {
    /// Adds the cluster roles and bindings of a file; ignores its other objects.
    pub(crate) fn load(&mut self, path: &Path) -> Result<(), Error> {
        let wrong = |reason: String| Error::Manifest {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let manifests: Vec<Manifest> =
            serde_saphyr::from_multiple(&text).map_err(|error| wrong(error.to_string()))?;
        for manifest in manifests {
            match (manifest.kind.as_str(), manifest.role_ref) {
                ("ClusterRole", _) => {
                    let rules = manifest
                        .rules
                        .into_iter()
                        .map(serde_json::from_value)
                        .collect::<Result<_, _>>()
                        .map_err(|error| wrong(error.to_string()))?;
                    self.roles.push((manifest.metadata.name, rules));
                }
                ("ClusterRoleBinding", Some(role)) => {
                    self.bindings.push((role.name, manifest.subjects));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn allow(&self, user: &User, wish: &Wish<'_>) -> bool {
        self.bindings
            .iter()
            .filter(|(_, subjects)| subjects.iter().any(|subject| subject.is(user)))
            .flat_map(|(role, _)| self.roles.iter().filter(move |(name, _)| name == role))
            .flat_map(|(_, rules)| rules)
            .any(|rule| rule.allows(wish))
    }
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "ServiceAccount" => {
                user.name == format!("system:serviceaccount:{}:{}", self.namespace, self.name)
            }
            "User" => user.name == self.name,
            "Group" => user.groups.contains(&self.name),
            _ => false,
        }
    }
}

impl Rule {
    fn allows(&self, wish: &Wish<'_>) -> bool {
        let has =
            |list: &[String], wanted: &str| list.iter().any(|one| one == wanted || one == "*");
        has(&self.api_groups, wish.group)
            && has(&self.resources, wish.resource)
            && has(&self.verbs, wish.verb)
            && (self.resource_names.is_empty() || has(&self.resource_names, wish.name))
    }
}
