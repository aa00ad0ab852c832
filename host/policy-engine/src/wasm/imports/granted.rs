//! The imports that need a grant and read what the daemon has in memory.

use std::collections::BTreeMap;

use crate::model::grant::Grant;
use crate::model::outside;
use crate::wasm::bindings::cnidaria::policy::{clock, metrics, nads, namespaces, node, random};
use crate::wasm::store::GuestState;

/// Maximum random bytes of one call.
const MAX_RANDOM: u32 = 4096;
/// Maximum bytes of a guest metric's name.
const MAX_METRIC_NAME: usize = 64;

impl namespaces::Host for GuestState {
    fn label(&mut self, namespace: String, key: String) -> wasmtime::Result<Option<String>> {
        let cluster = self.granted(Grant::Namespaces)?.cluster.as_ref();
        Ok(cluster.and_then(|cluster| cluster.namespace_label(&namespace, &key)))
    }

    fn labels(&mut self, namespace: String) -> wasmtime::Result<Vec<(String, String)>> {
        let cluster = self.granted(Grant::Namespaces)?.cluster.as_ref();
        Ok(listed(
            cluster.map(|cluster| cluster.namespace_labels(&namespace)),
        ))
    }

    fn annotation(&mut self, namespace: String, key: String) -> wasmtime::Result<Option<String>> {
        let cluster = self.granted(Grant::Namespaces)?.cluster.as_ref();
        Ok(cluster.and_then(|cluster| cluster.namespace_annotation(&namespace, &key)))
    }

    fn annotations(&mut self, namespace: String) -> wasmtime::Result<Vec<(String, String)>> {
        let cluster = self.granted(Grant::Namespaces)?.cluster.as_ref();
        Ok(listed(
            cluster.map(|cluster| cluster.namespace_annotations(&namespace)),
        ))
    }
}

impl nads::Host for GuestState {
    fn conf(&mut self, namespace: String, name: String) -> wasmtime::Result<Option<String>> {
        let cluster = self.granted(Grant::Nads)?.cluster.as_ref();
        Ok(cluster.and_then(|cluster| cluster.nad_conf(&namespace, &name)))
    }

    fn annotation(
        &mut self,
        namespace: String,
        name: String,
        key: String,
    ) -> wasmtime::Result<Option<String>> {
        let cluster = self.granted(Grant::Nads)?.cluster.as_ref();
        Ok(cluster.and_then(|cluster| cluster.nad_annotation(&namespace, &name, &key)))
    }

    fn annotations(
        &mut self,
        namespace: String,
        name: String,
    ) -> wasmtime::Result<Vec<(String, String)>> {
        let cluster = self.granted(Grant::Nads)?.cluster.as_ref();
        Ok(listed(
            cluster.map(|cluster| cluster.nad_annotations(&namespace, &name)),
        ))
    }
}

impl node::Host for GuestState {
    fn label(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self
            .granted(Grant::Node)?
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.node_label(&key)))
    }

    fn labels(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let cluster = self.granted(Grant::Node)?.cluster.as_ref();
        Ok(listed(cluster.map(|cluster| cluster.node_labels())))
    }

    fn annotation(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self
            .granted(Grant::Node)?
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.node_annotation(&key)))
    }

    fn annotations(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let cluster = self.granted(Grant::Node)?.cluster.as_ref();
        Ok(listed(cluster.map(|cluster| cluster.node_annotations())))
    }
}

impl metrics::Host for GuestState {
    /// Counters never decrease, so negative increments are dropped.
    fn add(&mut self, name: String, by: f64) -> wasmtime::Result<()> {
        if let Some(observer) = &self.granted(Grant::Metrics)?.observer
            && is_metric_name(&name)
            && by.is_finite()
            && by >= 0.0
        {
            observer.counted(&self.spec().name, &name, by);
        }
        Ok(())
    }

    fn observe(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        if let Some(observer) = &self.granted(Grant::Metrics)?.observer
            && is_metric_name(&name)
            && value.is_finite()
        {
            observer.observed(&self.spec().name, &name, value);
        }
        Ok(())
    }
}

fn listed(members: Option<BTreeMap<String, String>>) -> Vec<(String, String)> {
    members.into_iter().flatten().collect()
}

/// Whether a name is a valid Prometheus metric name, without colons.
fn is_metric_name(name: &str) -> bool {
    name.len() <= MAX_METRIC_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl clock::Host for GuestState {
    fn unix_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(self.granted(Grant::Clock)?.unix_ms())
    }
}

impl random::Host for GuestState {
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        if count > MAX_RANDOM {
            return Err(TooMany { count }.into());
        }
        self.granted(Grant::Random)?;
        if let Some(bytes) = outside::recorded_random(crate::wasm::store::index(count)) {
            return Ok(bytes);
        }
        let mut bytes = vec![0; crate::wasm::store::index(count)];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
        }
        outside::drew(&bytes);
        Ok(bytes)
    }
}

/// A guest asked for more random bytes than one call may return.
#[derive(Debug, thiserror::Error)]
#[error("{count} random bytes were asked for, at most {MAX_RANDOM} are given in one call")]
struct TooMany {
    count: u32,
}
