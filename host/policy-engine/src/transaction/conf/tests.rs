use super::*;
use crate::model::grant::Grant;

const CHAIN: &str = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"firewall"}]}"#;

fn conf(json: &str) -> Document {
    Document::parse(json, cni_types::json::Limits::default()).unwrap()
}

fn edited(json: &str, at: &str, value: &str, grant: &ConfGrant) -> Result<Document, EditError> {
    let old = conf(json);
    let mut new = old.clone();
    let edit = set(
        &old,
        pointer(at)?,
        super::value(value, old.limits())?,
        grant,
    )?;
    apply(&mut new, vec![edit])?;
    protected::check(&old, &new, grant)?;
    Ok(new)
}

#[test]
fn members_that_select_plugins_are_read_only() {
    for (at, value) in [
        ("/name", r#""m""#),
        ("/cniVersion", r#""0.1.0""#),
        ("/Name", r#""m""#),
        ("/cniVer\u{17f}ion", r#""0.1.0""#),
        ("/plugins/0/type", r#""evil""#),
        ("/plugins/0/TYPE", r#""evil""#),
        ("/plugins/0/ipam/type", r#""evil""#),
        ("/plugins/0/ipam", r"{}"),
        ("/plugins/0/prevResult", r"{}"),
        ("/plugins/0/runtimeConfig", r"{}"),
        ("/plugins/0/delegate", r#"{"type":"evil"}"#),
        ("/plugins/-", r#"{"type":"evil"}"#),
        ("/plugins", r"[]"),
        (
            "/plugins/0/delegate",
            r#"{"meta":[{"ipam":{"Type":"evil"}}]}"#,
        ),
        ("/loadOnlyInlinedPlugins", "false"),
        ("/cniVersions", r#"["0.1.0"]"#),
        ("/Plugins", r#"[{"name":"x"}]"#),
        ("", r"{}"),
    ] {
        let error = edited(CHAIN, at, value, &ConfGrant::default()).unwrap_err();
        assert!(!matches!(error, EditError::NotGranted(_)), "{at}: {error}");
    }
}

#[test]
fn the_rest_is_free() {
    for (at, value) in [
        ("/plugins/0/mtu", "1400"),
        ("/plugins/0/ipam/ranges", "[]"),
        ("/plugins/0/args", r#"{"name":"x"}"#),
        ("/other", "true"),
    ] {
        edited(CHAIN, at, value, &ConfGrant::default()).unwrap();
    }
}

#[test]
fn a_granted_type_may_be_set_and_no_other() {
    let grant = ConfGrant::of(&["ptp"], &[]);
    edited(CHAIN, "/plugins/0/type", r#""ptp""#, &grant).unwrap();
    edited(CHAIN, "/plugins/0/type", r#""evil""#, &grant).unwrap_err();
    edited(CHAIN, "/plugins/-", r#"{"type":"ptp"}"#, &grant).unwrap();
    edited(CHAIN, "/name", r#""m""#, &grant).unwrap_err();
    // The conf has one bridge; a second one needs a grant.
    edited(CHAIN, "/plugins/-", r#"{"type":"bridge"}"#, &grant).unwrap_err();
    edited(CHAIN, "/plugins/0/ipam/type", r#""bridge""#, &grant).unwrap_err();
    for nothing in [
        "[]",
        "{}",
        "[{}]",
        r#"[{"type":""}]"#,
        r#"[{"type":"bridge"},7]"#,
    ] {
        edited(CHAIN, "/plugins", nothing, &grant).unwrap_err();
    }
    let crooked = ConfGrant::of(&["../ptp"], &[]);
    edited(CHAIN, "/plugins/0/type", r#""../ptp""#, &crooked).unwrap_err();
}

fn whole(old: &str, new: &str, grant: &ConfGrant) -> Result<(), EditError> {
    edited(old, "", new, grant).map(drop)
}

#[test]
fn an_allow_list_removes_and_moves_no_plugin() {
    let chain = |types: &str| {
        let plugins: Vec<String> = types
            .split_whitespace()
            .map(|name| format!(r#"{{"type":"{name}"}}"#))
            .collect();
        format!(r#"{{"name":"n","plugins":[{}]}}"#, plugins.join(","))
    };
    let all = ["bridge", "ptp", "firewall", "tuning"];
    let types = ConfGrant::of(&all, &[]);
    let removes = ConfGrant::of(&all, &[Grant::RemovePlugin]);
    let moves = ConfGrant::of(&all, &[Grant::MovePlugin]);
    let check = |old: &str, new: &str, needs: Option<Grant>| {
        let (old, new) = (chain(old), chain(new));
        let by = |grant| whole(&old, &new, grant);
        match needs {
            None => by(&types).unwrap(),
            Some(needed) => {
                let error = by(&types).unwrap_err();
                let found = matches!(error, EditError::NeedsGrant { grant, .. } if grant == needed);
                assert!(found, "{old} {new}: {error}");
                let others = [Grant::RemovePlugin, Grant::MovePlugin];
                by(&ConfGrant::of(&all, &others)).unwrap();
            }
        }
    };
    check("bridge firewall", "ptp firewall", None);
    check("bridge firewall", "bridge firewall tuning", None);
    check("bridge firewall", "bridge tuning firewall", None);
    check("bridge firewall", "bridge", Some(Grant::RemovePlugin));
    check("bridge firewall", "ptp", Some(Grant::RemovePlugin));
    check(
        "bridge firewall",
        "bridge tuning",
        Some(Grant::RemovePlugin),
    );
    check(
        "bridge firewall tuning",
        "bridge tuning firewall",
        Some(Grant::MovePlugin),
    );
    check(
        "bridge firewall",
        "firewall bridge",
        Some(Grant::MovePlugin),
    );
    check(
        "bridge firewall",
        "ptp bridge firewall",
        Some(Grant::MovePlugin),
    );
    check("bridge firewall", "firewall", Some(Grant::MovePlugin));
    check(
        "bridge firewall",
        "tuning firewall",
        Some(Grant::MovePlugin),
    );
    whole(&chain("bridge firewall"), &chain("firewall"), &moves).unwrap_err();
    whole(&chain("bridge firewall"), &chain("firewall"), &removes).unwrap_err();
    whole(&chain("bridge firewall"), &chain("bridge"), &removes).unwrap();
    whole(&chain("bridge firewall"), &chain("bridge sbr"), &removes).unwrap_err();
}

#[test]
fn no_way_leads_around_the_roles() {
    let all = ["bridge", "ptp", "firewall", "host-local", "static"];
    let grant = ConfGrant::of(&all, &[]);
    for (at, value) in [
        ("/plugins/1", r#"{"type":"ptp"}"#),
        ("/plugins/1/type", r#""ptp""#),
        ("/plugins/0/type", r#""firewall""#),
        ("/plugins/0/type", r#""host-local""#),
        ("/plugins/0/ipam/type", r#""bridge""#),
        ("/plugins/0/ipam", "{}"),
        ("/plugins/0", r#"{"type":"bridge"}"#),
        ("/plugins/0/TYPE", r#""host-local""#),
        ("/plugins/-", r#"{"type":"static"}"#),
    ] {
        edited(CHAIN, at, value, &grant).unwrap_err();
    }
    for at in [
        "/plugins/0",
        "/plugins/1",
        "/plugins/0/ipam",
        "/plugins/0/ipam/type",
    ] {
        remove(&conf(CHAIN), pointer(at).unwrap(), &grant).unwrap_err();
    }
    edited(CHAIN, "/plugins/0/ipam/type", r#""static""#, &grant).unwrap();
    edited(CHAIN, "/plugins/0/type", r#""ptp""#, &grant).unwrap();
    let removes = ConfGrant::of(&[], &[Grant::RemovePlugin]);
    remove(&conf(CHAIN), pointer("/plugins/1").unwrap(), &removes).unwrap();
    remove(&conf(CHAIN), pointer("/plugins/0").unwrap(), &removes).unwrap_err();
}

const PLACES: &str = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","capabilities":{"ips":true},"x":{"a":[1]},"ipam":{"type":"host-local","dataDir":"/var/lib/cni"}},{"type":"firewall","DataDir":"/a","dataDir":"/b"}]}"#;

#[test]
fn places_and_powers_have_grants_of_their_own() {
    let check = |at: &str, value: &str, needed: Grant| {
        for grant in [ConfGrant::default(), ConfGrant::of(&["ptp"], &[])] {
            let error = edited(PLACES, at, value, &grant).unwrap_err();
            let found = matches!(error, EditError::NeedsGrant { grant, .. } if grant == needed);
            assert!(found, "{at}: {error}");
        }
        edited(PLACES, at, value, &ConfGrant::of(&[], &[needed])).unwrap();
    };
    let (paths, powers) = (Grant::ChangePaths, Grant::ChangeCapabilities);
    check("/binDir", r#""/tmp""#, paths);
    check("/plugins/0/kubeconfig", r#""k""#, paths);
    check("/plugins/0/KubeConfig", r#""k""#, paths);
    check("/plugins/0/ipam/dataDir", r#""/tmp""#, paths);
    check("/plugins/0/ipam/DATADIR", r#""x""#, paths);
    check("/plugins/0/ipam", r#"{"type":"host-local"}"#, paths);
    check("/plugins/0/x", r#"{"a":[{"log_file":1}]}"#, paths);
    check("/plugins/0/x/a/0", r#"{"binDir":1}"#, paths);
    check("/plugins/0/x/whatever", r#""/etc/kubernetes""#, paths);
    check("/plugins/0/x/a/-", r#""/etc/kubernetes""#, paths);
    check("/plugins/0/capabilities", r#"{"mac":true}"#, powers);
    check("/plugins/0/capabilities/mac", "true", powers);
    check("/plugins/0/capabilities/ips", "false", powers);
    check("/capabilities", "{}", powers);
    check(
        "/plugins/0/deviceID",
        r#""0000:00:01.0""#,
        Grant::ChangeDevices,
    );
    check(
        "/plugins/0/firewalldZone",
        r#""trusted""#,
        Grant::ChangeFirewall,
    );
    let root = PLACES.replace("/var/lib/cni", "/tmp");
    check("", &root, paths);
    let list = r#"[{"type":"bridge","capabilities":{"ips":true},"x":{"a":[1]},"ipam":{"type":"host-local"}},{"type":"firewall","DataDir":"/a","dataDir":"/b"}]"#;
    check("/plugins", list, paths);
    // Go reads the last of the two keys.
    let swapped = r#"{"type":"firewall","dataDir":"/b","DataDir":"/a"}"#;
    edited(PLACES, "/plugins/1", swapped, &ConfGrant::default()).unwrap_err();
    edited(PLACES, "/plugins/1", swapped, &ConfGrant::of(&[], &[paths])).unwrap();
    for at in [
        "/plugins/0/capabilities",
        "/plugins/0/ipam/dataDir",
        "/plugins/0/capabilities/ips",
    ] {
        let removed = remove(&conf(PLACES), pointer(at).unwrap(), &ConfGrant::default());
        removed.unwrap_err();
    }
}

#[test]
fn keys_in_args_are_not_places_of_the_node() {
    let args = r#"{"cni":{"dataDir":"/x","path":"/y"}}"#;
    edited(CHAIN, "/plugins/0/args", args, &ConfGrant::default()).unwrap();
}

#[test]
fn below_a_protected_member_nothing_changes() {
    let text =
        r#"{"type":"bridge","runtimeConfig":{"ips":["10.0.0.1/24"]},"prevResult":{"ips":[]}}"#;
    for at in [
        "/runtimeConfig/ips/0",
        "/runtimeConfig/mac",
        "/prevResult/ips",
    ] {
        let error = edited(text, at, "1", &ConfGrant::default()).unwrap_err();
        assert!(matches!(error, EditError::Immutable(_)), "{at}: {error}");
    }
}

#[test]
fn the_mtu_goes_to_every_plugin_that_has_one() {
    let check = |json: &str, expected: &str| {
        let mut conf = conf(json);
        let edits = set_mtu(&conf, 1400).unwrap();
        apply(&mut conf, edits).unwrap();
        assert_eq!(conf.to_string(), expected);
    };
    check(
        r#"{"type":"macvlan","master":"eth0"}"#,
        r#"{"type":"macvlan","master":"eth0","mtu":1400}"#,
    );
    check(
        r#"{"plugins":[{"type":"bridge","mtu":9000},{"type":"portmap"},{"type":"own","MTU":1}]}"#,
        r#"{"plugins":[{"type":"bridge","mtu":1400},{"type":"portmap"},{"type":"own","MTU":1400,"mtu":1400}]}"#,
    );
}

#[test]
fn a_chain_without_an_mtu_refuses_one() {
    set_mtu(&conf(r#"{"plugins":[{"type":"portmap"},7]}"#), 1400).unwrap_err();
}

#[test]
fn numbers_and_order_of_other_members_survive() {
    let text = r#"{"type":"bridge","big":12345678901234567890,"z":1.50,"a":null}"#;
    let new = edited(text, "/mtu", "1400", &ConfGrant::default()).unwrap();
    assert_eq!(
        new.to_string(),
        r#"{"type":"bridge","big":12345678901234567890,"z":1.50,"a":null,"mtu":1400}"#
    );
}

#[test]
fn keys_are_read_as_go_reads_them() {
    let check = |json: &str, pointer: &str, expected: Option<&str>| {
        assert_eq!(
            get(&conf(json), pointer).as_deref(),
            expected,
            "{json} {pointer}"
        );
    };
    check(r#"{"vlan":5}"#, "/VLAN", Some("5"));
    check(r#"{"VLAN":5}"#, "/vlan", Some("5"));
    check(r#"{"vlan":5,"VLAN":7}"#, "/vlan", Some("7"));
    check(r#"{"IPAM":{"Range":1}}"#, "/ipam/range", Some("1"));
    check(r#"{"plugins":[{"MTU":1}]}"#, "/Plugins/0/mtu", Some("1"));
    check(r#"{"plugins":[{"MTU":1}]}"#, "/plugins/00/mtu", None);
    check(r#"{"vlan":5}"#, "/vlans", None);
}
