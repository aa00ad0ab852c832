//! Modules built for WASI get nothing from it: no files, no environment, no time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::time::{Duration, Instant};

use policy_engine::{Cause, LoadState, PolicyHost};
use policy_tests::{Policies, only, trouble};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A component whose hook `status` executes `body`, with the WASI imports of the languages'
/// standard libraries. It accepts if the body returns, and traps if the body does.
fn component(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-type))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $o (sub resource)))
    (alias outer 1 $error-type (type $e0))
    (export "error" (type $e (eq $e0)))
    (type $s0 (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $s (eq $s0)))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $o)) (param "contents" (list u8)) (result (result (error $s)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output-stream (type $o0))
    (export "output-stream" (type $o (eq $o0)))
    (export "get-stdout" (func (result (own $o))))))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $p0))
    (export "pollable" (type $p (eq $p0)))
    (export "now" (func (result u64)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-u64" (func (result u64)))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))))
  (import "wasi:filesystem/types@0.2.0" (instance $files (export "descriptor" (type (sub resource)))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $d0))
    (export "descriptor" (type $d (eq $d0)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))

  ;; Memory of its own, so that functions with results in memory can be lowered before the guest is there.
  (core module $libc
    (memory (export "memory") 1)
    ;; Nothing is ever allocated: lists that come back are empty.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (if (local.get 3) (then unreachable))
      (i32.const 8)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))

  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $memory)))
  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $now (canon lower (func $clock "now")))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $random-u64 (canon lower (func $random "get-random-u64")))
  (core func $get-environment (canon lower (func $environment "get-environment") (memory $memory) (realloc $realloc)))
  (core func $get-directories (canon lower (func $preopens "get-directories") (memory $memory) (realloc $realloc)))

  (core module $guest
    (import "w" "memory" (memory 1))
    (import "w" "block" (func $block (param i32)))
    (import "w" "write" (func $write (param i32 i32 i32 i32)))
    (import "w" "get-stdout" (func $get-stdout (result i32)))
    (import "w" "now" (func $now (result i64)))
    (import "w" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "w" "random" (func $random (result i64)))
    (import "w" "environment" (func $environment (param i32)))
    (import "w" "directories" (func $directories (param i32)))
    (data (i32.const 256) "hello from the guest\n")
    (func $must (param i32) (if (i32.eqz (local.get 0)) (then unreachable)))
    (func (export "status") (result i32)
      {body}
      ;; A result without an error, at an address where nothing else is.
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.const 1024)))
  (core instance $guest (instantiate $guest (with "w" (instance
    (export "memory" (memory $memory))
    (export "block" (func $block)) (export "write" (func $write))
    (export "get-stdout" (func $get-stdout)) (export "now" (func $now))
    (export "subscribe" (func $subscribe)) (export "random" (func $random-u64))
    (export "environment" (func $get-environment)) (export "directories" (func $get-directories))))))

  (component $hook
    (type $f (func (result (result (error string)))))
    (import "status" (func $g (type $f)))
    (export "status" (func $g)))
  (func $status (result (result (error string)))
    (canon lift (core func $guest "status") (memory $memory)))
  (instance $instance (instantiate $hook (with "status" (func $status))))
  (export "cnidaria:policy/status@0.1.0" (instance $instance)))"#
    );
    wat::parse_str(text).unwrap()
}

async fn host(body: &str, config: &Value) -> PolicyHost {
    let host = Policies::new(COMPILER)
        .with_module("10-wasi", &component(body), config)
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    host
}

async fn accepts(body: &str, config: Value) {
    host(body, &config).await.current().status().await.unwrap();
}

async fn fails(body: &str, config: Value) -> policy_engine::Denied {
    host(body, &config)
        .await
        .current()
        .status()
        .await
        .unwrap_err()
}

#[tokio::test]
async fn guest_has_no_files_or_environment() {
    let empty = |function: &str| {
        format!(
            "(call ${function} (i32.const 64)) (call $must (i32.eqz (i32.load (i32.const 68))))"
        )
    };
    accepts(&empty("environment"), json!({})).await;
    accepts(&empty("directories"), json!({})).await;
}

#[tokio::test]
async fn time_stands_still_unless_it_is_granted() {
    let still = "(call $must (i64.eqz (call $now)))";
    accepts(still, json!({})).await;
    assert_eq!(
        fails(still, json!({"grants": ["clock"]})).await.cause,
        Cause::Trap
    );
}

#[tokio::test]
async fn random_is_constant_without_a_grant() {
    let same = "(call $must (i64.eq (call $random) (call $random)))";
    accepts(same, json!({})).await;
    assert_eq!(
        fails(same, json!({"grants": ["random"]})).await.cause,
        Cause::Trap
    );
}

#[tokio::test]
async fn a_sleep_in_the_host_ends_at_the_deadline() {
    let sleep = "(call $block (call $subscribe (i64.const 3600000000000)))";
    let start = Instant::now();
    let denied = fails(sleep, json!({"limits": {"timeoutMs": 200}})).await;
    assert_eq!(denied.cause, Cause::Timeout);
    assert!(
        denied.message.contains("did not return within 200 ms"),
        "{}",
        denied.message
    );
    // Without the wall-clock limit this would take an hour.
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn stdout_is_in_the_log_and_the_trap_error() {
    let write = "(call $write (call $get-stdout) (i32.const 256) (i32.const 21) (i32.const 128))";
    accepts(write, json!({})).await;
    let denied = fails(&format!("{write} unreachable"), json!({})).await;
    assert!(
        denied.message.ends_with(": hello from the guest"),
        "{}",
        denied.message
    );
}

#[tokio::test]
async fn output_beyond_the_log_does_not_stop_the_guest() {
    let write = "(call $write (call $get-stdout) (i32.const 0) (i32.const 4096) (i32.const 8192))
        (call $must (i32.eqz (i32.load8_u (i32.const 8192))))";
    accepts(&write.repeat(20), json!({"limits": {"logBytes": 5000}})).await;
}

#[tokio::test]
async fn more_imports_than_wasi_has_are_refused() {
    let resources: String = (0..900)
        .map(|number| format!(r#"(export "r{number}" (type (sub resource)))"#))
        .collect();
    let interfaces: String = (0..5)
        .map(|number| {
            format!(r#"(import "wasi:filesystem/f{number}@0.2.0" (instance {resources}))"#)
        })
        .collect();
    let module = wat::parse_str(format!("(component {interfaces})")).unwrap();
    let policies = Policies::new(COMPILER).with_module("10-wasi", &module, &json!({}));
    let reason = trouble(&policies.load().await);
    let part = "imports of WASI: more than 4096 functions and resources";
    assert!(reason.contains(part), "{reason}");
}

#[tokio::test]
async fn http_is_not_there() {
    let text = r#"(component (import "wasi:http/types@0.2.0" (instance)))"#;
    let module = wat::parse_str(text).unwrap();
    let host = Policies::new(COMPILER)
        .with_module("10-http", &module, &json!({}))
        .load()
        .await;
    assert!(
        trouble(&host).contains("imports wasi:http/types@0.2.0"),
        "{}",
        trouble(&host)
    );
}

/// A component whose hook `status` creates a socket, and accepts if that fails with an error code.
fn with_a_socket() -> Vec<u8> {
    let text = r#"(component
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $c0 (enum "unknown" "access-denied" "not-supported"))
    (export "error-code" (type (eq $c0)))
    (type $f0 (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $f0)))))
  (alias export $network "network" (type $network-type))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/instance-network@0.2.0" (instance $instance-network
    (alias outer 1 $network-type (type $n0))
    (export "network" (type $n (eq $n0)))
    (export "instance-network" (func (result (own $n))))))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (alias outer 1 $socket (type $s0))
    (export "tcp-socket" (type $s (eq $s0)))
    (alias outer 1 $code (type $c0))
    (export "error-code" (type $c (eq $c0)))
    (alias outer 1 $family (type $f0))
    (export "ip-address-family" (type $f (eq $f0)))
    (export "create-tcp-socket" (func (param "address-family" $f) (result (result (own $s) (error $c)))))))

  (core module $libc (memory (export "memory") 1))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (core func $network (canon lower (func $instance-network "instance-network")))
  (core func $drop (canon resource.drop $network-type))
  (core func $create (canon lower (func $create "create-tcp-socket") (memory $memory)))

  (core module $guest
    (import "w" "memory" (memory 1))
    (import "w" "network" (func $network (result i32)))
    (import "w" "drop" (func $drop (param i32)))
    (import "w" "create" (func $create (param i32 i32)))
    (func $must (param i32) (if (i32.eqz (local.get 0)) (then unreachable)))
    (func (export "status") (result i32)
      (call $drop (call $network))
      (call $create (i32.const 0) (i32.const 64))
      ;; An error, and the second code.
      (call $must (i32.eq (i32.load8_u (i32.const 64)) (i32.const 1)))
      (call $must (i32.eq (i32.load8_u (i32.const 68)) (i32.const 1)))
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.const 1024)))
  (core instance $guest (instantiate $guest (with "w" (instance
    (export "memory" (memory $memory)) (export "network" (func $network))
    (export "drop" (func $drop)) (export "create" (func $create))))))

  (component $hook
    (type $f (func (result (result (error string)))))
    (import "status" (func $g (type $f)))
    (export "status" (func $g)))
  (func $status (result (result (error string)))
    (canon lift (core func $guest "status") (memory $memory)))
  (instance $instance (instantiate $hook (with "status" (func $status))))
  (export "cnidaria:policy/status@0.1.0" (instance $instance)))"#;
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn socket_creation_is_denied_with_error_code() {
    let host = Policies::new(COMPILER)
        .with_module("10-socket", &with_a_socket(), &json!({}))
        .load()
        .await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    host.current().status().await.unwrap();
}
