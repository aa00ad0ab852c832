//! The worked example in the specification's appendix: `bridge`, `tuning` and `portmap` in a chain,
//! with its requests and results for ADD, CHECK and DEL, and the requests that sections 2 and 3
//! define for STATUS and GC.

#![cfg(test)]

use libcni::{RuntimeConf, ValidAttachment};
use serde_json::{Value, json};
use support::{Plugins, list, runtime};

#[allow(dead_code, reason = "not every test binary needs all of it")]
mod support;

fn example() -> (String, RuntimeConf) {
    let conf = json!({
        "cniVersion": "1.1.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "name": "dbnet",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "keyA": ["some more", "plugin specific", "configuration"],
                "ipam": {
                    "type": "host-local",
                    "subnet": "10.1.0.0/16",
                    "gateway": "10.1.0.1",
                    "routes": [{"dst": "0.0.0.0/0"}]
                },
                "dns": {"nameservers": ["10.1.0.1"]}
            },
            {
                "type": "tuning",
                "capabilities": {"mac": true},
                "sysctl": {"net.core.somaxconn": "500"}
            },
            {"type": "portmap", "capabilities": {"portMappings": true}}
        ]
    });
    let capability_args = json!({
        "mac": "00:11:22:33:44:66",
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    });
    (conf.to_string(), runtime(&capability_args.to_string()))
}

fn result(mac: &str) -> Value {
    json!({
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "veth3243", "mac": "55:44:33:22:11:11"},
            {"name": "eth0", "mac": mac, "sandbox": "/var/run/netns/blue"}
        ],
        "dns": {"nameservers": ["10.1.0.1"]}
    })
}

/// The three requests without `prevResult`. Like the reference library, and unlike the
/// specification's text, this library keeps `capabilities`.
fn requests() -> [Value; 3] {
    [
        json!({
            "cniVersion": "1.1.0", "name": "dbnet", "type": "bridge", "bridge": "cni0",
            "keyA": ["some more", "plugin specific", "configuration"],
            "ipam": {
                "type": "host-local", "subnet": "10.1.0.0/16", "gateway": "10.1.0.1",
                "routes": [{"dst": "0.0.0.0/0"}]
            },
            "dns": {"nameservers": ["10.1.0.1"]}
        }),
        json!({
            "cniVersion": "1.1.0", "name": "dbnet", "type": "tuning",
            "capabilities": {"mac": true},
            "sysctl": {"net.core.somaxconn": "500"},
            "runtimeConfig": {"mac": "00:11:22:33:44:66"}
        }),
        json!({
            "cniVersion": "1.1.0", "name": "dbnet", "type": "portmap",
            "capabilities": {"portMappings": true},
            "runtimeConfig": {
                "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
            }
        }),
    ]
}

#[tokio::test]
async fn add_check_and_del_follow_the_spec_example() {
    let (first, second) = ("99:88:77:66:55:44", "00:11:22:33:44:66");
    let plugins = Plugins::recording(&["bridge", "tuning", "portmap"]);
    plugins.answer("bridge", "ADD", &result(first).to_string());
    plugins.answer("tuning", "ADD", &result(second).to_string());
    plugins.answer("portmap", "ADD", &result(second).to_string());
    let (conf, runtime) = example();
    let (list, cni) = (list(&conf), plugins.cni());

    let added = cni.add(&list, &runtime).await.unwrap();
    cni.check(&list, &runtime, Some(&added)).await.unwrap();
    cni.del(&list, &runtime, Some(&added)).await.unwrap();

    let with = |request: &Value, prev: Option<Value>| {
        let mut request = request.clone();
        if let Some(prev) = prev {
            request["prevResult"] = prev;
        }
        request
    };
    let [bridge, tuning, portmap] = &requests();
    let expected = [
        ("ADD", with(bridge, None)),
        ("ADD", with(tuning, Some(result(first)))),
        ("ADD", with(portmap, Some(result(second)))),
        ("CHECK", with(bridge, Some(result(second)))),
        ("CHECK", with(tuning, Some(result(second)))),
        ("CHECK", with(portmap, Some(result(second)))),
        ("DEL", with(portmap, Some(result(second)))),
        ("DEL", with(tuning, Some(result(second)))),
        ("DEL", with(bridge, Some(result(second)))),
    ];
    made(&plugins, &expected);
}

#[tokio::test]
async fn status_and_gc_follow_the_specification() {
    let plugins = Plugins::recording(&["bridge", "tuning", "portmap", "host-local"]);
    let (conf, runtime) = example();
    let (list, cni) = (list(&conf), plugins.cni());
    let valid = ValidAttachment {
        container_id: runtime.container_id.clone(),
        if_name: runtime.if_name.clone(),
    };

    cni.status(&list).await.unwrap();
    cni.gc(&list, std::slice::from_ref(&valid)).await.unwrap();
    cni.gc(&list, &[]).await.unwrap();

    // Neither has a runtimeConfig or a result, because neither is about an attachment.
    let bare = requests().map(|mut request| {
        request.as_object_mut().unwrap().remove("runtimeConfig");
        request
    });
    let with = |valid: &Value| {
        bare.clone().map(|mut request| {
            request["cni.dev/valid-attachments"] = valid.clone();
            request["cni.dev/attachments"] = valid.clone();
            ("GC", request)
        })
    };
    let valid = json!([{"containerID": valid.container_id, "ifname": valid.if_name}]);
    let status = bare.clone().map(|request| ("STATUS", request));
    let expected = [status, with(&valid), with(&json!([]))].concat();
    made(&plugins, &expected);
    for call in plugins.calls() {
        for variable in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"] {
            assert_eq!(call.env[variable], "", "{variable}");
        }
    }
}

/// Asserts that exactly these calls were made, in this order.
fn made(plugins: &Plugins, expected: &[(&str, Value)]) {
    let calls = plugins.calls();
    assert_eq!(calls.len(), expected.len());
    for (call, (command, request)) in calls.iter().zip(expected) {
        assert_eq!(call.command(), *command);
        assert_eq!(call.plugin, request["type"].as_str().unwrap());
        assert_eq!(call.json(), *request);
    }
}
