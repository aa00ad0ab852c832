//! Plugins and cache together.

#![cfg(test)]

use std::fs;

use cni_types::args::{ContainerId, IfName, NetworkName};
use libcni::cache::Key;
use libcni::{Cache, Runtime, ValidAttachment};
use support::{Plugins, list, runtime};
use tempfile::TempDir;

#[allow(dead_code, reason = "not every test binary needs all of it")]
mod support;

const CONF: &str = r#"{ "cniVersion":"1.1.0","name":"n","plugins":[{"type":"one"}] }"#;

struct Bench {
    plugins: Plugins,
    cache: Cache,
    runtime: Runtime,
    key: Key,
    _directory: TempDir,
}

fn bench() -> Bench {
    let plugins = Plugins::recording(&["one"]);
    let answer = r#"{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.2/24"}]}"#;
    plugins.answer("one", "ADD", answer);
    let directory = TempDir::new().unwrap();
    let cache = Cache::new(directory.path());
    Bench {
        runtime: Runtime::new(plugins.cni(), cache.clone()),
        plugins,
        cache,
        key: Key {
            network: NetworkName::new("n").unwrap(),
            container_id: ContainerId::new("cid-1").unwrap(),
            if_name: IfName::new("eth0").unwrap(),
        },
        _directory: directory,
    }
}

#[tokio::test]
async fn an_attachment_is_remembered_from_add_to_del() {
    let bench = bench();
    let (list, runtime) = (list(CONF), runtime(r#"{"mac":"x"}"#));
    bench.runtime.add(&list, &runtime).await.unwrap();
    let entry = bench.cache.read(&bench.key).unwrap().unwrap();
    assert_eq!(entry.config, CONF.as_bytes());
    assert_eq!(entry.runtime_conf(), runtime);
    bench.runtime.check(&list, &runtime).await.unwrap();
    bench.runtime.del(&list, &runtime).await.unwrap();
    assert_eq!(bench.cache.read(&bench.key).unwrap(), None);
    let calls = bench.plugins.calls();
    assert_eq!(bench.plugins.order(), ["one ADD", "one CHECK", "one DEL"]);
    for call in &calls[1..] {
        assert_eq!(
            call.json()["prevResult"]["ips"][0]["address"],
            "10.0.0.2/24"
        );
    }
}

#[tokio::test]
async fn only_failed_del_keeps_its_cache_entry() {
    let bench = bench();
    let (list, runtime) = (list(CONF), runtime("{}"));
    bench.runtime.add(&list, &runtime).await.unwrap();
    bench
        .plugins
        .fail("one", "DEL", r#"{"code":100,"msg":"no"}"#);
    bench.runtime.del(&list, &runtime).await.unwrap_err();
    assert!(bench.cache.read(&bench.key).unwrap().is_some());

    fs::write(bench.cache.path(&bench.key), "{").unwrap();
    fs::remove_file(bench.plugins.path().join("one.DEL.exit")).unwrap();
    bench.runtime.check(&list, &runtime).await.unwrap_err();
    bench.runtime.del(&list, &runtime).await.unwrap();
    assert_eq!(bench.cache.read(&bench.key).unwrap(), None);
    let last = bench.plugins.calls().pop().unwrap();
    assert!(last.json().get("prevResult").is_none());
}

#[tokio::test]
async fn gc_deletes_what_is_not_valid_any_more() {
    let bench = bench();
    let list = list(CONF);
    let mut other = runtime("{}");
    bench.runtime.add(&list, &other).await.unwrap();
    other.container_id = ContainerId::new("cid-2").unwrap();
    bench.runtime.add(&list, &other).await.unwrap();
    let valid = [ValidAttachment {
        container_id: other.container_id.clone(),
        if_name: other.if_name.clone(),
    }];
    bench.runtime.gc(&list, &valid).await.unwrap();
    assert_eq!(bench.cache.read(&bench.key).unwrap(), None);
    assert_eq!(bench.cache.list().unwrap().0.len(), 1);
    assert_eq!(
        bench.plugins.order(),
        ["one ADD", "one ADD", "one DEL", "one GC"]
    );
    assert_eq!(bench.plugins.calls()[2].env["CNI_CONTAINERID"], "cid-1");
}
