//! The signer and approver of certificate signing requests.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::certificates::Authority;
use crate::status::Refusal;
use crate::users::User;

/// The signer of client certificates.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// The real server rejects shorter lifetimes.
const MIN_SECONDS: u64 = 600;

/// Rejects new requests as the real server would, and records who made them.
pub(crate) fn admit(request: &mut Value, user: &User) -> Result<(), Refusal> {
    let spec = &request["spec"];
    if spec["signerName"] != SIGNER {
        return Err(Refusal::invalid(format!("spec.signerName: not {SIGNER}")));
    }
    let usages = spec["usages"].as_array().cloned().unwrap_or_default();
    if !usages.contains(&json!("client auth")) || usages.iter().any(|usage| usage == "server auth")
    {
        return Err(Refusal::invalid("spec.usages: not those of a client"));
    }
    if spec["expirationSeconds"]
        .as_u64()
        .is_some_and(|s| s < MIN_SECONDS)
    {
        return Err(Refusal::invalid(format!(
            "spec.expirationSeconds: at least {MIN_SECONDS}"
        )));
    }
    pem(request)?;
    request["spec"]["username"] = json!(user.name);
    request["spec"]["groups"] = json!(user.groups);
    request["status"] = json!({});
    Ok(())
}

/// The status of an approved and signed request.
pub(crate) fn signed(
    request: &Value,
    authority: &Authority,
    lifetime: Duration,
) -> Result<Value, Refusal> {
    let certificate = authority
        .sign_client(&pem(request)?, lifetime)
        .map_err(|error| Refusal::invalid(format!("spec.request: {error}")))?;
    Ok(json!({
        "conditions": [{"type": "Approved", "status": "True", "reason": "Test"}],
        "certificate": BASE64.encode(certificate),
    }))
}

/// The status of a denied request.
pub(crate) fn denied() -> Value {
    json!({"conditions": [{"type": "Denied", "status": "True", "reason": "Test", "message": "no"}]})
}

fn pem(request: &Value) -> Result<String, Refusal> {
    let encoded = request["spec"]["request"].as_str().unwrap_or_default();
    BASE64
        .decode(encoded)
        .ok()
        .and_then(|pem| String::from_utf8(pem).ok())
        .filter(|pem| pem.contains("BEGIN CERTIFICATE REQUEST"))
        .ok_or_else(|| Refusal::invalid("spec.request: not a PEM request"))
}
