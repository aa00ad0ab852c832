//! Counts requests to the API server. Labels come from fixed sets: verbs, the resources that this
//! adapter uses, and HTTP status codes.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode, Uri};
use parking_lot::{Mutex, MutexGuard};

/// The resources that this adapter uses.
const RESOURCES: [&str; 11] = [
    "certificatesigningrequests",
    "daemonsets",
    "events",
    "namespaces",
    "network-attachment-definitions",
    "nodes",
    "pods",
    "policynodestatuses",
    "resourceclaims",
    "resourceslices",
    "selfsubjectaccessreviews",
];

/// How often a kind of request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requests {
    /// The API's verb, such as `watch`.
    pub verb: &'static str,
    /// The resource's plural; `other` for one that the adapter does not use.
    pub resource: &'static str,
    /// The status of the answer; 0 if there was none.
    pub code: u16,
    /// How many.
    pub count: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>);

impl Counts {
    pub(crate) fn add(&self, kind: (&'static str, &'static str), code: Option<StatusCode>) {
        let (verb, resource) = kind;
        let code = code.map_or(0, |code| code.as_u16());
        *self.lock().entry((verb, resource, code)).or_default() += 1;
    }

    pub(crate) fn all(&self) -> Vec<Requests> {
        let counts = self.lock();
        let all = counts
            .iter()
            .map(|(&(verb, resource, code), &count)| Requests {
                verb,
                resource,
                code,
                count,
            });
        all.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, &'static str, u16), u64>> {
        self.0.lock()
    }
}

/// Verb and resource of a request.
pub(crate) fn kind(method: &Method, uri: &Uri) -> (&'static str, &'static str) {
    let mut parts = uri.path().split('/').skip(1);
    let group_parts = match parts.next() {
        Some("apis") => 2,
        _ => 1,
    };
    let rest: Vec<&str> = parts.skip(group_parts).collect();
    let rest = match rest.as_slice() {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let plural = rest.first().copied().unwrap_or_default();
    let known = RESOURCES.iter().find(|known| **known == plural);
    let is_watch = uri
        .query()
        .is_some_and(|query| query.split('&').any(|member| member == "watch=true"));
    let verb = match *method {
        Method::GET if is_watch => "watch",
        Method::GET if rest.len() > 1 => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ => "other",
    };
    (verb, known.copied().unwrap_or("other"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_the_path() {
        let check = |method: Method, uri: &str, expected| {
            assert_eq!(kind(&method, &uri.parse().unwrap()), expected, "{uri}");
        };
        check(
            Method::GET,
            "/api/v1/pods?watch=true&x=y",
            ("watch", "pods"),
        );
        check(
            Method::GET,
            "/api/v1/pods?fieldSelector=watch",
            ("list", "pods"),
        );
        check(
            Method::GET,
            "/api/v1/namespaces/pods/events/x",
            ("get", "events"),
        );
        check(Method::GET, "/api/v1/namespaces", ("list", "namespaces"));
        check(Method::GET, "/api/v1/namespaces/a", ("get", "namespaces"));
        check(
            Method::PATCH,
            "/api/v1/namespaces/a/pods/b/status",
            ("patch", "pods"),
        );
        check(
            Method::GET,
            "/apis/k8s.cni.cncf.io/v1/namespaces/a/network-attachment-definitions/b",
            ("get", "network-attachment-definitions"),
        );
        check(
            Method::POST,
            "/apis/x/v1/namespaces/a/hostile",
            ("create", "other"),
        );
        check(Method::GET, "/", ("list", "other"));
    }

    #[test]
    fn answers_are_counted_by_code() {
        let counts = Counts::default();
        counts.add(("list", "pods"), Some(StatusCode::OK));
        counts.add(("list", "pods"), Some(StatusCode::OK));
        counts.add(("list", "pods"), None);
        let counted: Vec<_> = counts
            .all()
            .iter()
            .map(|one| (one.code, one.count))
            .collect();
        assert_eq!(counted, [(0, 1), (200, 2)]);
    }
}
