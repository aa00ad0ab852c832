//! Uses every import that needs a grant, so it loads only with all of them.

use cnidaria_guest::prelude::*;
use cnidaria_guest::{clock, metrics, nads, namespaces, node, random, state};

/// How much of each resource to use.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Keys of 100 bytes each to store across requests.
    keys: u32,
    /// Size in bytes of one value to store.
    value: usize,
    /// Number of metrics to create.
    metrics: u32,
    /// Random bytes to request in one call.
    random: u32,
}

/// A policy that uses all it can get.
#[derive(Debug)]
pub struct Greedy(Settings);

impl Policy for Greedy {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }
}

impl Greedy {
    /// Uses resources until the host refuses, and reports how much it got.
    fn take(&self) -> Verdict {
        for number in 0..self.0.metrics {
            metrics::add(&format!("metric_{number}"), 1.0);
        }
        for number in 0..self.0.keys {
            let key = format!("key-{number}");
            if let Err(error) = state::swap(&key, None, Some(&[0; 100]), true) {
                return Err(Denial::new(206, format!("{number} keys, then {error:?}")));
            }
        }
        if self.0.value > 0 {
            let error = state::swap("value", None, Some(&vec![0; self.0.value]), false);
            return Err(Denial::new(207, format!("{error:?}")));
        }
        if self.0.random > 0 {
            std::hint::black_box(random::bytes(self.0.random));
        }
        Ok(())
    }
}

impl BeforeAdd for Greedy {
    /// Writes what it got into the CNI args, for the test to inspect.
    fn before_add(&self, _: &Request, attachment: &Attachment, _: &Plan) -> Verdict {
        self.take()?;
        let arg = |key: &str, value: Option<String>| {
            let json = value.map_or_else(|| "null".to_owned(), |value| format!("{value:?}"));
            attachment.set_cni_arg(key, &json)
        };
        arg("namespace-label", namespaces::label("default", "team"))?;
        arg(
            "namespace-annotation",
            namespaces::annotation("default", "note"),
        )?;
        arg("nad-conf", nads::conf("default", "storage"))?;
        arg(
            "nad-annotation",
            nads::annotation("default", "storage", "note"),
        )?;
        arg("node-label", node::label("zone"))?;
        arg("node-annotation", node::annotation("note"))?;
        arg(
            "clock",
            Some((clock::unix_ms() > 1_600_000_000_000).to_string()),
        )?;
        arg("random", Some(random::bytes(16).len().to_string()))?;
        metrics::add("seen", 1.0);
        metrics::observe("size", 7.5);
        let before = state::get("count");
        let count = before
            .as_ref()
            .and_then(|bytes| bytes.first())
            .copied()
            .unwrap_or(0);
        let swapped = state::swap("count", before.as_deref(), Some(&[count + 1]), false);
        arg(
            "state",
            Some(format!("{count} {swapped:?} {:?}", state::keys(""))),
        )?;
        Ok(())
    }
}

cnidaria_guest::export!(Greedy: before_add);
