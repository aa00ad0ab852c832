use super::*;
use cni_types::args::CniArgs;

fn config(text: &str) -> RuntimeConfig {
    RuntimeConfig::parse(&RawObject::parse(text).unwrap()).unwrap()
}

/// A default network with the runtime's configuration and `CNI_ARGS`.
fn of_runtime(base: RuntimeConfig, args: &str, capabilities: &str) -> Attachment {
    let conf =
        format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"t","capabilities":{capabilities}}}"#);
    Attachment {
        network: "n".to_owned(),
        if_name: IfName::new("eth0").unwrap(),
        is_default: true,
        is_chosen: false,
        selection: None,
        conf: NetworkConfList::parse_any(conf).unwrap(),
        request: RuntimeConfig::default(),
        base,
        args: CniArgs::parse(args).unwrap(),
        device: None,
        device_info_file: None,
        default_route: None,
        ipam_claim_reference: None,
    }
}

/// What policies are shown of an attachment, in canonical form.
fn shown(origin: &Attachment) -> engine::PolicyAttachment {
    let given = given(origin);
    let conf = Document::parse("{}", cni_types::json::Limits::default()).unwrap();
    engine::PolicyAttachment {
        is_default: true,
        ips: given.ips.iter().map(|ip| canonical_ip(ip)).collect(),
        mac: given.mac.as_deref().map(canonical_mac),
        bandwidth: given.bandwidth,
        port_mappings: given.port_mappings,
        infiniband_guid: given.infiniband_guid,
        ..engine::PolicyAttachment::new("n", "eth0", conf)
    }
}

#[test]
fn edits_reach_what_the_runtime_gave() {
    let port = r#""portMappings":[{"hostPort":22,"containerPort":22}]"#;
    let runtime = format!(
        r#"{{"mac":"02-00-00-00-00-66","ips":["10.66.0.1/24"],{port},
        "bandwidth":{{"ingressRate":9,"ingressBurst":9}}}}"#
    );
    let mut origin = of_runtime(config(&runtime), "", "{}");
    let mut edited = shown(&origin);
    let same = capabilities(origin.clone(), &edited);
    assert_eq!((&same.base, &same.request), (&origin.base, &origin.request));
    edited.mac = None;
    edited.ips.clear();
    edited.bandwidth = None;
    edited.port_mappings.clear();
    let removed = capabilities(origin.clone(), &edited);
    assert_eq!(
        (removed.base, removed.request),
        (RuntimeConfig::default(), RuntimeConfig::default())
    );
    origin.request = config(r#"{"mac":"02:00:00:00:00:01"}"#);
    let mut edited = shown(&origin);
    edited.mac = None;
    let left = capabilities(origin, &edited);
    assert_eq!(left.base.overridden_by(&left.request).mac, None);
    assert_eq!(left.base.ips, ["10.66.0.1/24"]);
}

#[test]
fn policies_see_and_edit_the_runtimes_args() {
    let args = "K8S_POD_NAME=a;MAC=02-00-00-00-00-66;IP=10.66.0.1, 10.66.0.2/24";
    let origin = of_runtime(RuntimeConfig::default(), args, "{}");
    let before = shown(&origin);
    assert_eq!(before.mac.as_deref(), Some("02:00:00:00:00:66"));
    assert_eq!(before.ips, ["10.66.0.1", "10.66.0.2/24"]);
    // What no policy edits stays as the runtime sent it.
    let left = capabilities(origin.clone(), &before);
    assert_eq!(
        (left.args, left.request),
        (origin.args.clone(), origin.request.clone())
    );
    let mut removed = before.clone();
    removed.mac = None;
    let left = capabilities(origin.clone(), &removed);
    assert_eq!(left.args.get("MAC"), None);
    assert_eq!(left.args.get("IP"), origin.args.get("IP"));
    let mut moved = before;
    moved.ips = vec!["10.66.0.9".to_owned()];
    let left = capabilities(origin, &moved);
    assert_eq!(left.args.get("IP"), None);
    assert_eq!(left.request.ips, ["10.66.0.9"]);
}

#[test]
fn of_two_macs_policies_see_the_one_that_counts() {
    let check = |capabilities: &str, expected: &str| {
        let base = config(r#"{"mac":"02:00:00:00:00:01","ips":["10.0.0.1"]}"#);
        let args = "MAC=02:00:00:00:00:02;IP=10.0.0.2";
        let shown = shown(&of_runtime(base, args, capabilities));
        assert_eq!(shown.mac.as_deref(), Some(expected), "{capabilities}");
        assert_eq!(shown.ips, ["10.0.0.1", "10.0.0.2"]);
    };
    check(r#"{"mac":true}"#, "02:00:00:00:00:01");
    check("{}", "02:00:00:00:00:02");
}

#[test]
fn unedited_port_mappings_keep_their_bytes() {
    let mapping = |host_port, protocol: Option<&str>| PortMapping {
        host_port,
        container_port: 80,
        protocol: protocol.map(ToOwned::to_owned),
        host_ip: None,
    };
    let origin = [mapping(8080, None)];
    let same = vec![mapping(8080, Some("tcp"))];
    assert_eq!(port_mappings(&origin, same), origin);
    for other in [mapping(8081, Some("tcp")), mapping(8080, Some("udp"))] {
        let edited = vec![other];
        assert_eq!(port_mappings(&origin, edited.clone()), edited);
    }
}

#[test]
fn only_a_new_network_is_named_by_a_policy() {
    let asked = Selection {
        namespace: "default".to_owned(),
        name: "a".to_owned(),
        ..Selection::default()
    };
    let offered = Networks {
        default: None,
        others: vec![Wanted::Selected(Box::new(asked.clone()))],
    };
    for (name, namer) in [("a", None), ("b", Some("p".to_owned()))] {
        let left = engine::Chosen {
            origin: engine::Origin::Pod(0),
            named_by: Some("p".to_owned()),
            selection: engine::Selection {
                name: name.to_owned(),
                ..selection(&asked).unwrap()
            },
        };
        let selected = selected(offered.clone(), vec![left], engine::ChosenDefault::Offered);
        let networks = selected.unwrap();
        let named_by: Vec<_> = networks.selections().map(|one| &one.named_by).collect();
        assert_eq!(named_by, [&namer], "{name}");
    }
}
