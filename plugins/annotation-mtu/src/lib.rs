//! Sets the MTU of a pod's attachments from its annotation, within a configured range.
//!
//! README.md of this crate describes the annotation and the settings.

mod annotation;

use cnidaria_guest::prelude::*;
use serde::Deserialize;

use annotation::Requests;

/// The default annotation.
pub const ANNOTATION: &str = "cnidaria.dev/mtu";

/// Denial codes of this policy.
pub mod code {
    /// The annotation is malformed.
    pub const MALFORMED: u32 = 110;
    /// The MTU is outside the configured range.
    pub const OUT_OF_RANGE: u32 = 111;
    /// The host rejected the MTU.
    pub const REFUSED: u32 = 112;
}

/// The JSON settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Smallest allowed MTU.
    min: u32,
    /// Largest allowed MTU.
    max: u32,
    /// Key of the annotation.
    annotation: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min: 1280,
            max: 9216,
            annotation: ANNOTATION.to_owned(),
        }
    }
}

#[derive(Debug)]
pub struct AnnotationMtu {
    settings: Settings,
}

impl Policy for AnnotationMtu {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        let Settings { min, max, .. } = settings;
        if min > max {
            return Err(format!("settings: min ({min}) is above max ({max})"));
        }
        if min < 68 || max > 65535 {
            return Err(format!("settings: {min}..={max} is not within 68..=65535"));
        }
        if settings.annotation.is_empty() {
            return Err("settings: annotation is empty".to_owned());
        }
        Ok(Self { settings })
    }
}

impl BeforeAdd for AnnotationMtu {
    fn before_add(&self, request: &Request, attachment: &Attachment, plan: &Plan) -> Verdict {
        let Settings {
            min,
            max,
            annotation: key,
        } = &self.settings;
        let Some(text) = request.annotation(key) else {
            return Ok(());
        };
        let requests = Requests::parse(&text)
            .map_err(|error| Denial::new(code::MALFORMED, format!("annotation {key}: {error}")))?;
        // Once for each pod; a network that is attached to a running pod says nothing of the others.
        if attachment.is_default() {
            report_unmatched(request, key, &requests, plan);
        }
        let (network, if_name) = (attachment.network(), attachment.if_name());
        let Some(mtu) = requests.mtu_of(&network, &if_name) else {
            return Ok(());
        };
        if !(*min..=*max).contains(&mtu) {
            let message = format!(
                "annotation {key} asks for MTU {mtu} on {if_name}, allowed is {min} to {max}"
            );
            return Err(Denial::new(code::OUT_OF_RANGE, message));
        }
        attachment.set_mtu(mtu).map_err(|error| {
            let reason = Denial::from(error).message;
            Denial::new(
                code::REFUSED,
                format!("cannot set MTU {mtu} on {if_name}: {reason}"),
            )
        })
    }
}

/// Reports the targets that the pod does not have, which are probably misspelt.
fn report_unmatched(request: &Request, key: &str, requests: &Requests, plan: &Plan) {
    let attachments = plan.iter().map(|one| (one.network(), one.if_name()));
    let attachments: Vec<(String, String)> = attachments.collect();
    for target in requests.unmatched(&attachments) {
        let message = format!(
            "annotation {key} names {target:?}, which is not an interface or network of the pod"
        );
        let finding = Finding::warning("mtu-target", message).with("annotation", key);
        request.report(&finding.with("target", target));
    }
}

cnidaria_guest::export!(AnnotationMtu: before_add);
