//! Limits for tenants, on fakes of every port: too large a request is rejected with code 7 before
//! it is processed, and no delegate is executed.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use cni_types::error::code;
use cni_types::json::RawObject;
use cnidaria_core::domain::limits::Limits;
use cnidaria_core::domain::pod::DEFAULT_NETWORK_ANNOTATION;
use cnidaria_core::pipeline::Pipeline;
use cnidaria_core::ports::Ledger;
use daemon::response;
use support::{World, body};

/// Members beyond the default limit, each of which a policy would inspect.
fn types(count: usize) -> String {
    let types: Vec<_> = (0..count)
        .map(|at| format!(r#""{at}":{{"type":"t"}}"#))
        .collect();
    types.join(",")
}

fn conf(rest: &str) -> String {
    format!(r#"{{"cniVersion":"1.0.0","name":"n",{rest}}}"#)
}

fn world() -> Arc<World> {
    let world = World::new();
    let deep = "[".repeat(40) + &"]".repeat(40);
    let plugins = vec![r#"{"type":"t"}"#; 65].join(",");
    {
        let mut nads = world.nads.lock().unwrap();
        for (name, rest) in [
            ("wide", format!(r#""type":"t",{}"#, types(75_000))),
            (
                "duplicates",
                format!(r#""type":"t"{}"#, r#","type":"t""#.repeat(5000)),
            ),
            (
                "long",
                format!(r#""type":"t","a":"{}""#, "a".repeat(300_000)),
            ),
            ("deep", format!(r#""type":"t","a":{deep}"#)),
            ("chain", format!(r#""plugins":[{plugins}]"#)),
            ("few", r#""plugins":[{"type":"t"},{"type":"t"}]"#.to_owned()),
        ] {
            nads.insert(format!("default/{name}"), conf(&rest));
        }
    }
    world
}

async fn setting(pipeline: &Arc<Pipeline>, world: &World) -> String {
    let error = pipeline.handle(&body("ADD", "a")).await.unwrap_err();
    let error = response::cni_error(&error);
    assert_eq!(error.code, code::INVALID_CONFIG, "{error}");
    let log = world.log();
    let executed = log.iter().any(|line| line.starts_with("add "));
    assert!(!executed, "{log:?}");
    let setting = error.msg.split("cnidaria.limits.").nth(1);
    setting.unwrap_or(&error.msg).replace(')', "")
}

#[tokio::test]
async fn a_nad_beyond_a_limit_is_refused() {
    let world = world();
    let pipeline = world.pipeline();
    for (nad, expected) in [
        ("wide", "confBytes"),
        ("duplicates", "confMembers"),
        ("long", "confBytes"),
        ("deep", "confDepth"),
        ("chain", "plugins"),
    ] {
        world.pod("a", &format!("one,{nad}"));
        assert_eq!(setting(&pipeline, &world).await, expected, "{nad}");
        world.pod("a", "");
        let own = format!("default/{nad}");
        if let Some(pod) = world.pods.lock().unwrap().get_mut("a") {
            let annotations = &mut pod.annotations;
            annotations.insert(DEFAULT_NETWORK_ANNOTATION.into(), own);
        }
        assert_eq!(setting(&pipeline, &world).await, expected, "{nad}");
    }
    world.pod("b", "few");
    pipeline.handle(&body("ADD", "b")).await.unwrap();
}

#[tokio::test]
async fn an_annotation_beyond_a_limit_is_refused() {
    let world = world();
    let pipeline = world.pipeline();
    let args: Vec<_> = (0..300).map(|at| format!(r#""{at}":0"#)).collect();
    let args = args.join(",");
    let half = "a".repeat(150_000);
    for (annotation, expected) in [
        (vec!["one"; 65].join(","), "networks"),
        (
            format!(r#"[{{"name":"one","cni-args":{{{args}}}}}]"#),
            "cniArgs",
        ),
        // Each plugin of the chain gets it.
        (
            format!(r#"[{{"name":"few","cni-args":{{"a":"{half}"}}}}]"#),
            "confBytes",
        ),
        (" ".repeat(300_000) + "one", "annotationBytes"),
    ] {
        world.pod("a", &annotation);
        assert_eq!(setting(&pipeline, &world).await, expected);
    }
}

#[tokio::test]
async fn confs_of_one_pod_are_limited_together() {
    let world = world();
    let pipeline = world.pipeline();
    let large = format!(r#""type":"t","a":"{}""#, "a".repeat(200_000));
    let many = format!(r#""type":"t","a":[{}0]"#, "0,".repeat(3900));
    for (name, rest, expected) in [
        ("large", large, "requestConfBytes"),
        ("many", many, "requestConfMembers"),
    ] {
        let nad = format!("default/{name}");
        world.nads.lock().unwrap().insert(nad, conf(&rest));
        world.pod("a", &[name; 6].join(","));
        assert_eq!(setting(&pipeline, &world).await, expected);
        world.pod("b", &[name; 2].join(","));
        pipeline.handle(&body("ADD", "b")).await.unwrap();
        pipeline.handle(&body("DEL", "b")).await.unwrap();
        world.log.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn the_settings_move_the_limits() {
    let world = world();
    let ledger = Arc::clone(&world) as Arc<dyn Ledger>;
    let limits = Limits {
        conf_bytes: 4 << 20,
        conf_members: 200_000,
        plugins: 1,
        ..Limits::default()
    };
    let pipeline = world.unshared(ledger, RawObject::new()).limiting(limits);
    let pipeline = Arc::new(pipeline);
    world.pod("a", "few");
    assert_eq!(setting(&pipeline, &world).await, "plugins");
    world.pod("b", "wide");
    pipeline.handle(&body("ADD", "b")).await.unwrap();
}
