//! Networks whose delegates are the daemon's own shim, and keys of the daemon's conf in the
//! cluster's confs, on fakes of every port.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::Arc;

use cni_types::json::RawObject;
use cnidaria_core::pipeline::{Error, Pipeline};
use cnidaria_core::ports::Ledger;
use daemon::response;
use support::{World, body};

/// Confs that lead back to the daemon, in whose file `type` is `own`.
const SHIMS: [&str; 7] = [
    r#"{"cniVersion":"1.0.0","name":"self","type":"cnidaria-shim","binDir":"/theirs"}"#,
    r#"{"cniVersion":"1.0.0","name":"self","type":"multus"}"#,
    r#"{"cniVersion":"1.0.0","name":"self","Type":"multus-shim"}"#,
    r#"{"cniVersion":"1.0.0","name":"self","type":"own"}"#,
    r#"{"cniVersion":"1.0.0","name":"self","type":"t","ipam":{"type":"multus"}}"#,
    r#"{"cniVersion":"1.0.0","name":"self","plugins":[{"type":"t"},{"type":"own"}]}"#,
    r#"{"cniVersion":"1.0.0","name":"self","type":"t","x":{"delegate":{"type":"own"}}}"#,
];

fn pipeline(world: &Arc<World>) -> Arc<Pipeline> {
    let overrides = r#"{"type":"own","binDir":"/ours","cniDir":"/ledger"}"#;
    let overrides = RawObject::parse(overrides).unwrap();
    world.pipeline_with(Arc::clone(world) as Arc<dyn Ledger>, overrides)
}

fn nad(world: &World, name: &str, conf: &str) {
    let mut nads = world.nads.lock().unwrap();
    nads.insert(format!("default/{name}"), conf.to_owned());
}

/// A request with another conf.
fn with_conf(body: &[u8], conf: &str) -> Vec<u8> {
    let mut request = shim_api::Request::parse(body).unwrap();
    request.config = conf.as_bytes().to_vec();
    request.to_json()
}

/// A hot-plug controller's request.
fn plug(conf: &str) -> Vec<u8> {
    let mut request = shim_api::Request::parse(&body("ADD", "a")).unwrap();
    request.env.insert("CNI_IFNAME".into(), "net5".into());
    with_conf(&request.to_json(), conf)
}

/// Checks that a request was rejected with code 7, and nothing was recorded or executed.
fn is_refused(world: &World, error: &Error, conf: &str) {
    let error = response::cni_error(error);
    assert_eq!(error.code, 7, "{conf}: {error}");
    assert!(error.msg.contains("shim"), "{conf}: {error}");
    let log = world.log();
    let traces = log.iter().filter(|done| !done.starts_with("pod "));
    assert_eq!(traces.count(), 0, "{conf}: {log:?}");
    assert!(world.recorded.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_nad_that_executes_the_shim_is_refused() {
    for conf in SHIMS {
        let world = World::new();
        nad(&world, "self", conf);
        world.pod("a", "one,self");
        let error = pipeline(&world).handle(&body("ADD", "a")).await;
        is_refused(&world, &error.unwrap_err(), conf);
    }
}

#[tokio::test]
async fn a_shim_as_the_default_network_is_refused() {
    for conf in SHIMS {
        let world = World::new();
        world.pod("a", "");
        let own = format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"x","delegates":[{conf}]}}"#);
        let add = with_conf(&body("ADD", "a"), &own);
        let error = pipeline(&world).handle(&add).await;
        is_refused(&world, &error.unwrap_err(), conf);
    }
}

#[tokio::test]
async fn the_type_of_the_requests_conf_is_refused() {
    let world = World::new();
    world.pod("a", "one");
    let own = r#"{"cniVersion":"1.0.0","name":"n","type":"t","delegates":[{"cniVersion":"1.0.0","name":"default","type":"d"}]}"#;
    let add = with_conf(&body("ADD", "a"), own);
    let error = pipeline(&world).handle(&add).await;
    is_refused(&world, &error.unwrap_err(), own);
}

#[tokio::test]
async fn a_hot_plug_that_executes_the_shim_is_refused() {
    for conf in SHIMS {
        let world = World::new();
        world.pod("a", "");
        let error = pipeline(&world).hotplug(&plug(conf)).await;
        is_refused(&world, &error.unwrap_err(), conf);
    }
}

#[tokio::test]
async fn a_policy_cannot_make_a_network_the_shim() {
    for conf in SHIMS {
        let world = World::new();
        world.pod("a", "one");
        for network in ["one", "hot"] {
            let mut edits = world.edits.lock().unwrap();
            edits.insert(network.into(), conf.into());
        }
        let pipeline = pipeline(&world);
        let error = pipeline.handle(&body("ADD", "a")).await;
        is_refused(&world, &error.unwrap_err(), conf);
        let hot = r#"{"cniVersion":"1.0.0","name":"hot","type":"t"}"#;
        let error = pipeline.hotplug(&plug(hot)).await;
        is_refused(&world, &error.unwrap_err(), conf);
    }
}

#[tokio::test]
async fn a_nads_conf_sets_no_place_of_the_node() {
    let keys = r#""BinDir":"/theirs","cniDir":"/theirs","confDir":"/theirs","daemonSocketDir":"/theirs","kubeconfig":"/theirs","multusNamespace":"theirs","namespaceIsolation":false,"cnidaria":{}"#;
    let conf = format!(r#"{{"cniVersion":"1.0.0","name":"one","type":"t",{keys}}}"#);
    let world = World::new();
    world.pod("a", "one");
    nad(&world, "one", &conf);
    let pipeline = pipeline(&world);
    pipeline.handle(&body("ADD", "a")).await.unwrap();
    assert_eq!(world.bin_dirs.lock().unwrap()[0], Path::new("/ours"));
    pipeline.hotplug(&plug(&conf)).await.unwrap();
    assert_eq!(world.bin_dirs.lock().unwrap()[0], Path::new("/ours"));
}
