//! Uses every import that needs a grant, so that it loads with all of them alone.

use cnidaria_guest::prelude::*;
use cnidaria_guest::{clock, metrics, nads, namespaces, node, random, state};

/// The policy.
#[derive(Debug)]
pub struct Greedy;

impl Policy for Greedy {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
}

impl BeforeAdd for Greedy {
    /// Puts what it got into the cni-args, for the test to see.
    fn before_add(&self, _: &Request, attachment: &Attachment) -> Verdict {
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
