//! Attachments.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::{Bandwidth, EditError, EditErrorKind, PortMapping};

/// An attachment for tests.
#[derive(Debug, Clone)]
pub struct Attachment {
    state: RefCell<State>,
    refusal: Option<EditError>,
}

#[derive(Debug, Clone)]
struct State {
    network: String,
    if_name: String,
    is_default: bool,
    conf: Value,
    ips: Vec<String>,
    mac: Option<String>,
    infiniband_guid: Option<String>,
    bandwidth: Option<Bandwidth>,
    port_mappings: Vec<PortMapping>,
    cni_args: Option<Value>,
    resource_name: Option<String>,
    device_id: Option<String>,
    default_route: Vec<String>,
    is_skipped: bool,
}

impl Attachment {
    /// Creates an attachment of an additional network.
    ///
    /// # Panics
    /// If `conf` is not JSON.
    pub fn new(network: &str, if_name: &str, conf: &str) -> Self {
        let state = State {
            network: network.to_owned(),
            if_name: if_name.to_owned(),
            is_default: false,
            conf: serde_json::from_str(conf).expect("the conf of a test is JSON"),
            ips: Vec::new(),
            mac: None,
            infiniband_guid: None,
            bandwidth: None,
            port_mappings: Vec::new(),
            cni_args: None,
            resource_name: None,
            device_id: None,
            default_route: Vec::new(),
            is_skipped: false,
        };
        Self {
            state: RefCell::new(state),
            refusal: None,
        }
    }

    /// Makes it the default network's attachment.
    #[must_use]
    pub fn as_default(self) -> Self {
        self.with(|state| state.is_default = true)
    }

    /// Sets the requested addresses.
    #[must_use]
    pub fn with_ips(self, ips: &[&str]) -> Self {
        self.with(|state| state.ips = ips.iter().map(|ip| (*ip).to_owned()).collect())
    }

    /// Sets the requested MAC address.
    #[must_use]
    pub fn with_mac(self, mac: &str) -> Self {
        self.with(|state| state.mac = Some(mac.to_owned()))
    }

    /// Sets the cni-args object.
    ///
    /// # Panics
    /// If `json` is not JSON.
    #[must_use]
    pub fn with_cni_args(self, json: &str) -> Self {
        let value = serde_json::from_str(json).expect("the cni-args of a test are JSON");
        self.with(|state| state.cni_args = Some(value))
    }

    /// Sets the device and the resource it was allocated from.
    #[must_use]
    pub fn with_device(self, resource_name: &str, device_id: &str) -> Self {
        self.with(|state| {
            state.resource_name = Some(resource_name.to_owned());
            state.device_id = Some(device_id.to_owned());
        })
    }

    /// Sets the gateways of default routes through this network.
    #[must_use]
    pub fn with_default_route(self, gateways: &[&str]) -> Self {
        self.with(|state| state.default_route = gateways.iter().map(ToString::to_string).collect())
    }

    /// Makes every edit fail with `error`.
    #[must_use]
    pub fn refusing(mut self, error: EditError) -> Self {
        self.refusal = Some(error);
        self
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.state.borrow_mut());
        self
    }

    fn edit(&self, change: impl FnOnce(&mut State)) -> Result<(), EditError> {
        match &self.refusal {
            Some(error) => Err(error.clone()),
            None => {
                change(&mut self.state.borrow_mut());
                Ok(())
            }
        }
    }

    /// `namespace/name` of the NAD, or the name of the conf.
    pub fn network(&self) -> String {
        self.state.borrow().network.clone()
    }

    /// Name of the interface in the pod.
    pub fn if_name(&self) -> String {
        self.state.borrow().if_name.clone()
    }

    /// Whether this is the default network.
    pub fn is_default(&self) -> bool {
        self.state.borrow().is_default
    }

    /// `type` of each plugin of the chain, in order.
    pub fn plugin_types(&self) -> Vec<String> {
        let state = self.state.borrow();
        plugins(&state.conf)
            .filter_map(|plugin| plugin.get("type")?.as_str().map(str::to_owned))
            .collect()
    }

    /// The whole conf or conflist as JSON text.
    pub fn conf(&self) -> String {
        self.state.borrow().conf.to_string()
    }

    /// The JSON text at an RFC 6901 pointer. A key in another case is found, too, as plugins find it.
    pub fn conf_get(&self, pointer: &str) -> Option<String> {
        at(&self.state.borrow().conf, pointer).map(Value::to_string)
    }

    /// Replaces or adds a value.
    ///
    /// # Errors
    /// When the parent does not exist or `json` is not JSON; the error given to
    /// [`refusing`](Self::refusing).
    pub fn conf_set(&self, pointer: &str, json: &str) -> Result<(), EditError> {
        let value: Value =
            serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        let missing = || invalid(format!("no place at {pointer:?}"));
        let mut placed = Err(missing());
        self.edit(|state| placed = put(&mut state.conf, pointer, value).ok_or_else(missing))?;
        placed
    }

    /// Removes a value.
    ///
    /// # Errors
    /// When it does not exist; the error given to [`refusing`](Self::refusing).
    pub fn conf_remove(&self, pointer: &str) -> Result<(), EditError> {
        let missing = || invalid(format!("nothing at {pointer:?}"));
        let mut removed = Err(missing());
        self.edit(|state| removed = take(&mut state.conf, pointer).ok_or_else(missing))?;
        removed
    }

    /// Adds a plugin to the end of the chain; a single plugin becomes the first of one.
    ///
    /// # Errors
    /// When `json` is not JSON; the error given to [`refusing`](Self::refusing).
    pub fn append_plugin(&self, json: &str) -> Result<(), EditError> {
        let plugin: Value =
            serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        self.edit(|state| append(&mut state.conf, plugin))
    }

    /// The capabilities that plugins declare, sorted.
    pub fn capabilities(&self) -> Vec<String> {
        let state = self.state.borrow();
        let declared = plugins(&state.conf).filter_map(|plugin| plugin.get("capabilities"));
        let members = declared.filter_map(Value::as_object).flatten();
        let names = members.filter(|(_, value)| **value == Value::Bool(true));
        let names: BTreeSet<String> = names.map(|(name, _)| name.clone()).collect();
        names.into_iter().collect()
    }

    /// The resource that the device was allocated from.
    pub fn resource_name(&self) -> Option<String> {
        self.state.borrow().resource_name.clone()
    }

    /// The device.
    pub fn device_id(&self) -> Option<String> {
        self.state.borrow().device_id.clone()
    }

    /// Gateways of the pod's default routes through this network.
    pub fn default_route(&self) -> Vec<String> {
        self.state.borrow().default_route.clone()
    }

    /// JSON object: the arguments of all capabilities; here, of addresses, MAC, device and port mappings.
    pub fn runtime_config(&self) -> String {
        let state = self.state.borrow();
        let mut arguments = serde_json::Map::new();
        if !state.ips.is_empty() {
            arguments.insert("ips".to_owned(), state.ips.clone().into());
        }
        for (key, value) in [("mac", &state.mac), ("deviceID", &state.device_id)] {
            if let Some(value) = value {
                arguments.insert(key.to_owned(), value.clone().into());
            }
        }
        if !state.port_mappings.is_empty() {
            let mappings = state.port_mappings.iter().map(|mapping| {
                serde_json::json!({
                    "hostPort": mapping.host_port,
                    "containerPort": mapping.container_port,
                    "protocol": mapping.protocol,
                    "hostIP": mapping.host_ip,
                })
            });
            arguments.insert("portMappings".to_owned(), mappings.collect());
        }
        Value::Object(arguments).to_string()
    }

    /// Leaves the network out.
    ///
    /// # Errors
    /// For the default network; the error given to [`refusing`](Self::refusing).
    pub fn skip(&self) -> Result<(), EditError> {
        if self.is_default() {
            let message = "the default network cannot be changed";
            return Err(EditError::new(EditErrorKind::Immutable, message));
        }
        self.edit(|state| state.is_skipped = true)
    }

    /// Whether the network is left out.
    pub fn is_skipped(&self) -> bool {
        self.state.borrow().is_skipped
    }

    /// The addresses of the `ips` capability.
    pub fn ips(&self) -> Vec<String> {
        self.state.borrow().ips.clone()
    }

    /// The address of the `mac` capability.
    pub fn mac(&self) -> Option<String> {
        self.state.borrow().mac.clone()
    }

    /// The GUID of the `infinibandGUID` capability.
    pub fn infiniband_guid(&self) -> Option<String> {
        self.state.borrow().infiniband_guid.clone()
    }

    /// The `bandwidth` capability.
    pub fn bandwidth(&self) -> Option<Bandwidth> {
        self.state.borrow().bandwidth
    }

    /// The `portMappings` capability.
    pub fn port_mappings(&self) -> Vec<PortMapping> {
        self.state.borrow().port_mappings.clone()
    }

    /// The cni-args object.
    pub fn cni_args(&self) -> Option<String> {
        let state = self.state.borrow();
        let in_conf = plugins(&state.conf).filter_map(|plugin| plugin.pointer("/args/cni"));
        let edited = state.cni_args.as_ref();
        if let Some(malformed) = edited.filter(|args| !args.is_object()) {
            return Some(malformed.to_string());
        }
        let mut shown = serde_json::Map::new();
        for (key, value) in in_conf.chain(edited).filter_map(Value::as_object).flatten() {
            shown.retain(|known, _| !known.eq_ignore_ascii_case(key));
            shown.insert(key.clone(), value.clone());
        }
        let is_given = !shown.is_empty() || edited.is_some();
        is_given.then(|| Value::Object(shown).to_string())
    }

    /// Renames the interface.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_if_name(&self, name: &str) -> Result<(), EditError> {
        self.edit(|state| name.clone_into(&mut state.if_name))
    }

    /// Sets the requested addresses.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_ips(&self, cidrs: &[String]) -> Result<(), EditError> {
        self.edit(|state| state.ips = cidrs.to_vec())
    }

    /// Sets the requested MAC address.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_mac(&self, mac: Option<&str>) -> Result<(), EditError> {
        self.edit(|state| state.mac = mac.map(str::to_owned))
    }

    /// Sets the requested GUID.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_infiniband_guid(&self, guid: Option<&str>) -> Result<(), EditError> {
        self.edit(|state| state.infiniband_guid = guid.map(str::to_owned))
    }

    /// Sets `mtu` on every plugin of the chain; the real host only on types that support it.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_mtu(&self, mtu: u32) -> Result<(), EditError> {
        self.edit(|state| {
            let chain = match state.conf.get_mut("plugins") {
                Some(Value::Array(chain)) => chain.iter_mut().collect(),
                _ => vec![&mut state.conf],
            };
            for plugin in chain.into_iter().filter_map(Value::as_object_mut) {
                plugin.insert("mtu".to_owned(), mtu.into());
            }
        })
    }

    /// Sets the requested bandwidth.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_bandwidth(&self, bandwidth: Option<Bandwidth>) -> Result<(), EditError> {
        self.edit(|state| state.bandwidth = bandwidth)
    }

    /// Sets the requested port mappings.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_port_mappings(&self, mappings: &[PortMapping]) -> Result<(), EditError> {
        self.edit(|state| state.port_mappings = mappings.to_vec())
    }

    /// Sets one member of the cni-args object.
    ///
    /// # Errors
    /// When `json` is not JSON; the error given to [`refusing`](Self::refusing).
    pub fn set_cni_arg(&self, key: &str, json: &str) -> Result<(), EditError> {
        let value: Value =
            serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        self.edit(|state| {
            let args = state
                .cni_args
                .get_or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(members) = args.as_object_mut() {
                members.insert(key.to_owned(), value);
            }
        })
    }
}

fn append(conf: &mut Value, plugin: Value) {
    if let Some(Value::Array(chain)) = conf.get_mut("plugins") {
        return chain.push(plugin);
    }
    let mut first = conf.take();
    let mut chain = serde_json::Map::new();
    if let Some(members) = first.as_object_mut() {
        for key in ["cniVersion", "name"] {
            chain.extend(members.remove(key).map(|value| (key.to_owned(), value)));
        }
    }
    chain.insert("plugins".to_owned(), Value::Array(vec![first, plugin]));
    *conf = Value::Object(chain);
}

fn invalid(message: String) -> EditError {
    EditError::new(EditErrorKind::Invalid, message)
}

fn plugins(conf: &Value) -> impl Iterator<Item = &Value> {
    let chain = conf.get("plugins").and_then(Value::as_array);
    chain
        .into_iter()
        .flatten()
        .chain(chain.is_none().then_some(conf))
}

/// The parent of a pointer's last token, and that token.
fn parent<'a>(root: &'a mut Value, pointer: &str) -> Option<(&'a mut Value, String)> {
    let (path, last) = pointer.rsplit_once('/')?;
    Some((
        root.pointer_mut(path)?,
        last.replace("~1", "/").replace("~0", "~"),
    ))
}

/// The value at an RFC 6901 pointer. Of the keys that differ in case only, the exact one is taken.
fn at<'a>(root: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.is_empty() {
        return Some(root);
    }
    pointer
        .strip_prefix('/')?
        .split('/')
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .try_fold(root, |value, key| match value {
            Value::Object(members) => members.get(&key).or_else(|| {
                let mut folded = members.iter();
                folded.find_map(|(name, value)| name.eq_ignore_ascii_case(&key).then_some(value))
            }),
            Value::Array(elements) => elements.get(key.parse::<usize>().ok()?),
            _ => None,
        })
}

fn put(root: &mut Value, pointer: &str, value: Value) -> Option<()> {
    if let Some(old) = root.pointer_mut(pointer) {
        *old = value;
        return Some(());
    }
    match parent(root, pointer)? {
        (Value::Object(members), key) => {
            members.insert(key, value);
        }
        (Value::Array(elements), key) if key == "-" || key.parse() == Ok(elements.len()) => {
            elements.push(value);
        }
        _ => return None,
    }
    Some(())
}

fn take(root: &mut Value, pointer: &str) -> Option<()> {
    match parent(root, pointer)? {
        (Value::Object(members), key) => members.remove(&key).map(|_| ()),
        (Value::Array(elements), key) => {
            let index: usize = key.parse().ok().filter(|index| *index < elements.len())?;
            elements.remove(index);
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_appended_to_one_or_more() {
        let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"a"}"#;
        let attachment = Attachment::new("n", "net1", conf);
        attachment.append_plugin(r#"{"type":"b"}"#).unwrap();
        attachment.append_plugin(r#"{"type":"c"}"#).unwrap();
        assert_eq!(attachment.plugin_types(), ["a", "b", "c"]);
        assert_eq!(attachment.conf_get("/name").as_deref(), Some(r#""n""#));
        assert_eq!(attachment.conf_get("/plugins/0/name"), None);
    }

    #[test]
    fn a_key_is_read_in_any_case() {
        let conf = serde_json::json!({"VLAN": 5, "mtu": 1, "MTU": 2, "plugins": [{"a/b": 3}]});
        for (pointer, value) in [
            ("/vlan", 5),
            ("/MTU", 2),
            ("/mtu", 1),
            ("/Plugins/0/a~1b", 3),
        ] {
            assert_eq!(at(&conf, pointer), Some(&Value::from(value)), "{pointer}");
        }
        assert_eq!(at(&conf, "/plugins/1"), None);
    }
}
