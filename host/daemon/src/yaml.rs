//! YAML, read as the JSON that it stands for, as Kubernetes' clients read it. Types are read from that:
//! to read each from YAML would take a parser of its own for each, as machine code.

use serde_json::Value;

/// The documents of a text, without those in which there is nothing. JSON is YAML too.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}
