//! A policy with a hook before the delegate and one after it. It reads what typical policies read
//! and edits only if its settings say so: the benchmark measures two calls into a guest, and the
//! cost of edits.

use cnidaria_guest::prelude::*;
use serde::Deserialize;

/// The settings as JSON.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Key of the annotation to read.
    annotation: String,
    /// Number of conf members to set.
    edits: u32,
    /// Number of cni-args to set.
    args: u32,
    /// Prefix of their keys.
    key: String,
    /// Members of one object to set in the conf.
    members: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            annotation: "cnidaria.dev/measured".to_owned(),
            edits: 0,
            args: 0,
            key: String::new(),
            members: 0,
        }
    }
}

/// The measured policy.
#[derive(Debug)]
pub struct BothSides {
    settings: Settings,
}

impl Policy for BothSides {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { settings })
    }
}

impl BeforeAdd for BothSides {
    fn before_add(&self, request: &Request, attachment: &Attachment, _: &Plan) -> Verdict {
        for number in 0..self.settings.edits {
            attachment.conf_set(&format!("/{}{number}", self.settings.key), "1")?;
        }
        for number in 0..self.settings.args {
            attachment.set_cni_arg(&format!("{}{number}", self.settings.key), "1")?;
        }
        if self.settings.members > 0 {
            let members = (0..self.settings.members).map(|number| format!("\"m{number}\":1"));
            let members = members.collect::<Vec<_>>().join(",");
            attachment.conf_set("/object", &format!("{{{members}}}"))?;
        }
        match request.annotation(&self.settings.annotation) {
            Some(network) if network == attachment.network() => {
                Err(Denial::new(110, format!("{network} is not wanted")))
            }
            _ => Ok(()),
        }
    }
}

impl AfterAdd for BothSides {
    fn after_add(&self, _request: &Request, attachment: &Attachment, outcome: &Outcome) -> Verdict {
        match outcome.dns().domain {
            Some(domain) if domain == attachment.network() => {
                Err(Denial::new(111, format!("{domain} is not wanted")))
            }
            _ => Ok(()),
        }
    }
}

cnidaria_guest::export!(BothSides: before_add, after_add);
