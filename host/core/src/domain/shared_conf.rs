//! Separates the network's part of an attachment's conf from the pod's.

use cni_types::conf::NetworkConfList;
use serde_json::{Map, Value};

/// Plugin keys that differ between pods: arguments from annotations and policies, devices.
const OF_A_POD: [&str; 4] = ["args", "deviceID", "pciBusID", "runtimeConfig"];

/// The text of a conf without its pod-specific keys: the same for all attachments of a network.
pub fn text(conf: &NetworkConfList) -> String {
    let Ok(Value::Object(mut list)) = serde_json::from_str(conf.text()) else {
        return conf.text().to_owned();
    };
    strip(&mut list);
    if let Some(Value::Array(plugins)) = list.get_mut("plugins") {
        plugins
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(strip);
    }
    Value::Object(list).to_string()
}

fn strip(members: &mut Map<String, Value>) {
    // Keys match in any case, as in Go.
    let is_of_a_pod = |name: &str| OF_A_POD.iter().any(|own| own.eq_ignore_ascii_case(name));
    members.retain(|name, _| !is_of_a_pod(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(conf: &str) -> String {
        text(&NetworkConfList::parse_any(conf).unwrap())
    }

    #[test]
    fn a_pods_cni_args_make_no_other_network() {
        let shared = text_of(r#"{"name":"n","type":"t","x":1}"#);
        let own = r#"{"name":"n","type":"t","x":1,"args":{"cni":{"a":1}},"deviceID":"0000:01"}"#;
        assert_eq!(text_of(own), shared);
        assert_ne!(text_of(r#"{"name":"n","type":"t","x":2}"#), shared);
        let list = |args: &str| {
            let args = format!(r#"{{"type":"t","Args":{args}}}"#);
            text_of(&format!(
                r#"{{"name":"n","plugins":[{args},{{"type":"u"}}]}}"#
            ))
        };
        assert_eq!(list("{}"), list(r#"{"cni":{"a":1}}"#));
    }
}
