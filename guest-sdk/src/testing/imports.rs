//! The host's functions, with the signatures of the generated bindings.

use super::host::{LogLine, host};

/// The daemon's log.
pub mod log {
    pub use crate::bindings::log::Level;

    /// Logs one line.
    pub fn log(level: Level, message: &str) {
        let level = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let line = super::LogLine {
            level: level.to_owned(),
            message: message.to_owned(),
        };
        super::host(|host| host.log.push(line));
    }
}

/// Attachments of the node; needs the grant `attachments`.
pub mod attachments {
    pub use crate::bindings::attachments::{Error, Filter, Info, Page};

    /// Attachments that fit, all on one page. Unlike the host, compares addresses as text.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the test gives no attachments.
    pub fn find(filter: &Filter, _next: Option<&str>) -> Result<Page, Error> {
        let all = super::host(|host| host.attachments.clone());
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let of = |ip: &String| ip.split('/').next().map(str::to_owned);
        let fits = |one: &Info| {
            is(&filter.namespace, &one.namespace)
                && is(&filter.pod, &one.pod)
                && is(&filter.network, &one.network)
                && is(&filter.mac, one.mac.as_deref().unwrap_or_default())
                && filter.ip.as_ref().is_none_or(|ip| {
                    one.ips
                        .iter()
                        .any(|own| own == ip || of(own).as_ref() == Some(ip))
                })
        };
        let all = all.ok_or(Error::Unavailable)?;
        Ok(Page {
            attachments: all.into_iter().filter(fits).collect(),
            next: None,
        })
    }
}

/// Labels and annotations of namespaces; needs the grant `namespaces`.
pub mod namespaces {
    /// Value of a label.
    pub fn label(namespace: &str, key: &str) -> Option<String> {
        super::host(|host| {
            host.namespace_labels
                .get(&(namespace.to_owned(), key.to_owned()))
                .cloned()
        })
    }

    /// All labels.
    pub fn labels(namespace: &str) -> Vec<(String, String)> {
        super::host(|host| of(&host.namespace_labels, namespace))
    }

    /// All annotations.
    pub fn annotations(namespace: &str) -> Vec<(String, String)> {
        super::host(|host| of(&host.namespace_annotations, namespace))
    }

    fn of(
        all: &std::collections::BTreeMap<(String, String), String>,
        namespace: &str,
    ) -> Vec<(String, String)> {
        let own = all.iter().filter(|((of, _), _)| of == namespace);
        own.map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Value of an annotation.
    pub fn annotation(namespace: &str, key: &str) -> Option<String> {
        super::host(|host| {
            host.namespace_annotations
                .get(&(namespace.to_owned(), key.to_owned()))
                .cloned()
        })
    }
}

/// NetworkAttachmentDefinitions; needs the grant `nads`.
pub mod nads {
    /// The NAD's conf.
    pub fn conf(namespace: &str, name: &str) -> Option<String> {
        super::host(|host| {
            host.nads
                .get(&(namespace.to_owned(), name.to_owned()))
                .cloned()
        })
    }

    /// Value of an annotation.
    pub fn annotation(namespace: &str, name: &str, key: &str) -> Option<String> {
        let key = (namespace.to_owned(), name.to_owned(), key.to_owned());
        super::host(|host| host.nad_annotations.get(&key).cloned())
    }

    /// All annotations.
    pub fn annotations(namespace: &str, name: &str) -> Vec<(String, String)> {
        super::host(|host| {
            let all = host.nad_annotations.iter();
            let own = all.filter(|((of, nad, _), _)| of == namespace && nad == name);
            own.map(|((_, _, key), value)| (key.clone(), value.clone()))
                .collect()
        })
    }
}

/// The node of the daemon; needs the grant `node`.
pub mod node {
    /// Value of a label.
    pub fn label(key: &str) -> Option<String> {
        super::host(|host| host.node_labels.get(key).cloned())
    }

    /// All labels.
    pub fn labels() -> Vec<(String, String)> {
        super::host(|host| host.node_labels.clone().into_iter().collect())
    }

    /// All annotations.
    pub fn annotations() -> Vec<(String, String)> {
        super::host(|host| host.node_annotations.clone().into_iter().collect())
    }

    /// Value of an annotation.
    pub fn annotation(key: &str) -> Option<String> {
        super::host(|host| host.node_annotations.get(key).cloned())
    }
}

/// Metrics of the policy; needs the grant `metrics`.
pub mod metrics {
    /// Adds to a counter.
    pub fn add(name: &str, by: f64) {
        super::host(|host| *host.counters.entry(name.to_owned()).or_default() += by);
    }

    /// Observes a value of a histogram.
    pub fn observe(name: &str, value: f64) {
        super::host(|host| host.observations.push((name.to_owned(), value)));
    }
}

/// The current time; needs the grant `clock`.
pub mod clock {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn unix_ms() -> u64 {
        super::host(|host| host.unix_ms)
    }
}

/// Randomness; needs the grant `random`.
pub mod random {
    /// `count` random bytes; in native builds always the same.
    pub fn bytes(count: u32) -> Vec<u8> {
        (0..count).map(|index| (index % 251) as u8).collect()
    }
}

/// Values that outlive the request; needs the grant `state`.
pub mod state {
    pub use crate::bindings::state::Error;

    /// The value of `key`.
    pub fn get(key: &str) -> Option<Vec<u8>> {
        super::host(|host| host.state.get(key).cloned())
    }

    /// Sets or removes `key` if its current value is `expected`.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is not.
    pub fn swap(
        key: &str,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
        bound: bool,
    ) -> Result<(), Error> {
        super::host(|host| {
            if host.state.get(key).map(Vec::as_slice) != expected {
                return Err(Error::Conflict);
            }
            match new {
                Some(new) => host.state.insert(key.to_owned(), new.to_vec()),
                None => host.state.remove(key),
            };
            match bound && new.is_some() {
                true => host.bound.insert(key.to_owned(), host.container_id.clone()),
                false => host.bound.remove(key),
            };
            Ok(())
        })
    }

    /// The keys with the given prefix.
    pub fn keys(prefix: &str) -> Vec<String> {
        super::host(|host| {
            host.state
                .keys()
                .filter(|key| key.starts_with(prefix))
                .cloned()
                .collect()
        })
    }
}
