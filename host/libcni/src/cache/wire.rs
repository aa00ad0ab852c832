//! The JSON of an entry; members, their order and omissions match the Go library.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cni_types::args::{CniArgs, ContainerId, IfName, NetworkName};
use cni_types::json::RawObject;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Entry, Key};
use crate::seal::{self, Seal};

/// Prefix of every entry of this library. The Go library ignores unknown members.
const HEAD: &[u8] = br#"{"sha256":""#;
/// Text after the checksum; unique to this library at this position.
const BEHIND: &[u8] = br#"","kind":"#;

/// Prints an entry with its checksum.
pub(super) fn write(entry: &Entry) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Wire::from(entry))?;
    seal::close(&mut text, HEAD);
    Ok(text)
}

/// Verifies the checksum of an entry; those of the Go library have none.
pub(super) fn verify(text: &[u8]) -> Seal {
    let behind = text.get(HEAD.len() + seal::DIGITS..).unwrap_or_default();
    match seal::verify(text, HEAD) {
        Seal::Missing if behind.starts_with(BEHIND) => Seal::Broken,
        seal => seal,
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    /// Covers all following bytes, so it comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    kind: Kind,
    container_id: ContainerId,
    #[serde(default)]
    config: Base64,
    if_name: IfName,
    network_name: NetworkName,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cni_args: Option<CniArgs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capability_args: Option<RawObject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<RawObject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnidaria: Option<RawObject>,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "cniCacheV1")]
    V1,
}

#[derive(Default)]
struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

impl From<&Entry> for Wire {
    fn from(entry: &Entry) -> Self {
        let filled = |object: &RawObject| Some(object.clone()).filter(|object| !object.is_empty());
        Self {
            sha256: Some(seal::placeholder()),
            kind: Kind::V1,
            container_id: entry.key.container_id.clone(),
            config: Base64(entry.config.clone()),
            if_name: entry.key.if_name.clone(),
            network_name: entry.key.network.clone(),
            netns: entry.netns.clone(),
            cni_args: Some(entry.args.clone()).filter(|args| !args.is_empty()),
            capability_args: filled(&entry.capability_args),
            result: filled(&entry.result),
            cnidaria: filled(&entry.own),
        }
    }
}

impl From<Wire> for Entry {
    fn from(wire: Wire) -> Self {
        Self {
            key: Key {
                network: wire.network_name,
                container_id: wire.container_id,
                if_name: wire.if_name,
            },
            config: wire.config.0,
            netns: wire.netns,
            args: wire.cni_args.unwrap_or_default(),
            capability_args: wire.capability_args.unwrap_or_default(),
            result: wire.result.unwrap_or_default(),
            own: wire.cnidaria.unwrap_or_default(),
        }
    }
}
