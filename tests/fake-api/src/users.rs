//! Authenticates users by bearer token or client certificate.

use std::collections::HashMap;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name as in audit logs: `system:serviceaccount:kube-system:cnidaria`.
    pub name: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

impl User {
    /// The user of a service account.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ],
        }
    }

    /// A user without credentials.
    pub(crate) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
        }
    }
}

/// The currently valid tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    users: HashMap<String, User>,
    issued: u64,
}

impl Tokens {
    pub(crate) fn issue(&mut self, user: User) -> String {
        self.issued += 1;
        let token = format!("token-{}-{}", self.issued, user.name.replace(':', "-"));
        self.users.insert(token.clone(), user);
        token
    }

    pub(crate) fn revoke(&mut self, token: &str) {
        self.users.remove(token);
    }

    /// The user of an `Authorization` header.
    pub(crate) fn user(&self, header: &str) -> Option<User> {
        self.users.get(header.strip_prefix("Bearer ")?).cloned()
    }
}

/// A trusted client certificate's user: common name and organizations.
pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok().map(str::to_owned))
        .collect();
    Some(User { name, groups })
}
