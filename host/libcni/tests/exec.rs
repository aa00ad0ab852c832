//! One execution: input, output and termination.

#![cfg(test)]

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use libcni::Helper;
use libcni::exec::{Error, Invocation, Limits, Output, run};
use support::Plugins;

#[allow(dead_code, reason = "not every test binary needs all of it")]
mod support;

fn limits(deadline: Duration) -> Limits {
    Limits {
        deadline,
        ..Limits::default()
    }
}

async fn run_script(text: &str, stdin: &[u8], limits: Limits) -> Result<Output, Error> {
    let plugins = Plugins::new();
    let path = plugins.script("plugin", text);
    execute(&path, stdin, limits).await
}

async fn execute(path: &Path, stdin: &[u8], limits: Limits) -> Result<Output, Error> {
    execute_with(None, path, stdin, limits).await
}

async fn execute_with(
    helper: Option<&Helper>,
    path: &Path,
    stdin: &[u8],
    limits: Limits,
) -> Result<Output, Error> {
    let env = [(OsString::from("PATH"), OsString::from(libcni::exec::PATH))];
    let invocation = Invocation {
        path,
        env: &env,
        stdin,
        root: None,
        helper,
        cgroup: None,
    };
    run(&invocation, &limits).await
}

fn exists(process: &str) -> bool {
    // A zombie still has a directory, so check its state.
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits for a file that a script writes.
async fn written(path: &Path) -> String {
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// The processes that execute this file.
fn executing(path: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|process| {
            let line = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
            line.contains(path.to_str().unwrap())
        })
        .collect()
}

async fn gone(process: &str) -> bool {
    for _ in 0..200 {
        if !exists(process) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn input_output_and_both_streams_are_passed() {
    let done = run_script(
        "#!/bin/sh\ncat\necho warning >&2\n",
        b"{}",
        Limits::default(),
    )
    .await;
    let expected = Output {
        stdout: b"{}".to_vec(),
        stderr: b"warning\n".to_vec(),
    };
    assert_eq!(done.unwrap(), expected);
}

#[tokio::test]
async fn the_environment_is_built_and_not_inherited() {
    let done = execute(Path::new("/usr/bin/env"), b"", Limits::default()).await;
    let expected = format!("PATH={}\n", libcni::exec::PATH);
    assert_eq!(String::from_utf8(done.unwrap().stdout).unwrap(), expected);
}

#[tokio::test]
async fn a_zero_byte_is_refused() {
    let env = [(OsString::from("CNI_ARGS"), OsString::from("A=\0"))];
    let invocation = Invocation {
        path: Path::new("/bin/true"),
        env: &env,
        stdin: b"",
        root: None,
        helper: None,
        cgroup: None,
    };
    let failed = run(&invocation, &Limits::default()).await;
    assert!(matches!(failed, Err(Error::Spawn { .. })), "{failed:?}");
}

/// The signal mask on one line of `/proc/<pid>/status`.
fn signals(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
}

#[tokio::test]
async fn plugin_starts_with_default_signals() {
    let pipe = 1 << (13 - 1);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    assert_ne!(
        signals(&own, "SigIgn:") & pipe,
        0,
        "Rust's programs ignore it"
    );
    let script = "#!/bin/sh\ncat /proc/self/status\n";
    let done = run_script(script, b"", Limits::default()).await.unwrap();
    let status = String::from_utf8(done.stdout).unwrap();
    assert_eq!(signals(&status, "SigIgn:") & pipe, 0);
    assert_eq!(signals(&status, "SigBlk:"), 0);
}

#[tokio::test]
async fn input_and_output_may_exceed_pipe_capacity() {
    let input = vec![b'x'; 200_000];
    let done = run_script("#!/bin/sh\ncat\n", &input, Limits::default()).await;
    assert_eq!(done.unwrap().stdout, input);
}

#[tokio::test]
async fn a_plugin_need_not_read_its_input() {
    let input = vec![b'x'; 900_000];
    let done = run_script(
        "#!/bin/sh\nexec 0<&-; echo done\n",
        &input,
        Limits::default(),
    )
    .await;
    assert_eq!(done.unwrap().stdout, b"done\n");
}

#[tokio::test]
async fn deadline_kills_the_process_group() {
    let plugins = Plugins::new();
    let path = plugins.script(
        "plugin",
        "#!/bin/sh\necho started >&2\nsleep 1000 & echo $! > ${0%/*}/child\necho $$ > ${0%/*}/self\nwait\n",
    );
    let start = Instant::now();
    let error = execute(&path, b"", limits(Duration::from_secs(2)))
        .await
        .unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(error.executed());
    assert!(
        matches!(&error, Error::Deadline { stderr, .. } if stderr == "started"),
        "{error}"
    );
    for name in ["self", "child"] {
        assert!(gone(&written(&plugins.path().join(name)).await).await);
    }
}

#[tokio::test]
async fn dropped_call_kills_the_process_group() {
    let plugins = Plugins::new();
    let path = plugins.script(
        "plugin",
        "#!/bin/sh\nsleep 1000 & echo $! > ${0%/*}/child\necho $$ > ${0%/*}/self\nwait\n",
    );
    let child = plugins.path().join("child");
    let own = plugins.path().join("self");
    let (child, own) = tokio::select! {
        _ = execute(&path, b"", Limits::default()) => panic!("it waits"),
        processes = async { (written(&child).await, written(&own).await) } => processes,
    };
    assert!(gone(&child).await && gone(&own).await);
    // Only this process, its parent, can reap it.
    while Path::new("/proc").join(&own).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_helper_starts_what_the_caller_would() {
    let helper = Helper::start().unwrap();
    let plugins = Plugins::new();
    let plugin = plugins.script("plugin", "#!/bin/sh\ncat\necho $PATH >&2\n");
    let done = execute_with(Some(&helper), &plugin, b"{}", Limits::default()).await;
    let expected = Output {
        stdout: b"{}".to_vec(),
        stderr: format!("{}\n", libcni::exec::PATH).into_bytes(),
    };
    assert_eq!(done.unwrap(), expected);
    let missing = plugin.with_file_name("missing");
    let failed = execute_with(Some(&helper), &missing, b"", Limits::default()).await;
    assert!(matches!(failed, Err(Error::Spawn { .. })), "{failed:?}");
}

#[tokio::test]
async fn dropped_call_kills_the_helpers_process() {
    let helper = Helper::start().unwrap();
    let plugins = Plugins::new();
    let hanging = plugins.script("hanging", "#!/bin/sh\nsleep 30\n");
    let quick = plugins.script("quick", "#!/bin/sh\n");
    for _ in 0..20 {
        let call = execute_with(Some(&helper), &hanging, b"", Limits::default());
        // Polled once: the helper has been asked, but its reply not yet received.
        assert!(futures_util::poll!(Box::pin(call)).is_pending());
    }
    // The helper works sequentially, so this one starts last.
    let last = execute_with(Some(&helper), &quick, b"", Limits::default()).await;
    last.unwrap();
    for process in executing(&hanging) {
        assert!(gone(&process).await, "{process} runs");
    }
}

#[tokio::test]
async fn excess_output_fails_the_call() {
    let small = Limits {
        stdout: 1000,
        ..Limits::default()
    };
    let exact = run_script("#!/bin/sh\nprintf %1000d 1\n", b"", small).await;
    assert_eq!(exact.unwrap().stdout.len(), 1000);
    let error = run_script("#!/bin/sh\nyes\n", b"", small)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::OutputTooLarge { limit: 1000, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn of_standard_error_only_the_beginning_is_kept() {
    let small = Limits {
        stderr: 10,
        ..Limits::default()
    };
    let script = "#!/bin/sh\nhead -c 500000 /dev/zero | tr '\\0' e >&2\necho out\n";
    let done = run_script(script, b"", small).await.unwrap();
    assert_eq!(done.stderr, b"eeeeeeeeee");
    assert_eq!(done.stdout, b"out\n");
}

#[tokio::test]
async fn leftover_process_does_not_delay_the_call() {
    let plugins = Plugins::new();
    let path = plugins.script(
        "plugin",
        "#!/bin/sh\necho '{}'\nsleep 1000 & echo $! > ${0%/*}/child\n",
    );
    let start = Instant::now();
    let done = execute(&path, b"", Limits::default()).await.unwrap();
    assert_eq!(done.stdout, b"{}\n");
    assert!(start.elapsed() < Duration::from_secs(60));
    let left = written(&plugins.path().join("child")).await;
    assert!(
        exists(&left),
        "what outlives the plugin is the plugin's affair"
    );
    let status = std::process::Command::new("kill").arg(&left).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_binary_that_is_being_written_is_tried_again() {
    let plugins = Plugins::new();
    let path = plugins.path().join("plugin");
    fs::copy("/bin/true", &path).unwrap();
    let writer = OpenOptions::new().append(true).open(&path).unwrap();
    let close = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(writer);
    };
    let (done, ()) = tokio::join!(execute(&path, b"", Limits::default()), close);
    assert_eq!(done.unwrap(), Output::default());
}

#[tokio::test]
async fn busy_binary_fails_after_retries() {
    let plugins = Plugins::new();
    let path = plugins.path().join("plugin");
    fs::copy("/bin/true", &path).unwrap();
    let _writer = OpenOptions::new().append(true).open(&path).unwrap();
    let error = execute(&path, b"", limits(Duration::from_millis(500)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Busy { attempts, .. } if attempts > 1),
        "{error}"
    );
    assert!(!error.executed());
}

#[tokio::test]
async fn the_error_of_a_plugin_is_kept() {
    let script = "#!/bin/sh\necho hint >&2\necho '{\"cniVersion\":\"1.0.0\",\"code\":103,\"msg\":\"m\",\"details\":\"d\"}'\nexit 3\n";
    let error = run_script(script, b"", Limits::default())
        .await
        .unwrap_err();
    let answer = error.answer().unwrap();
    assert_eq!(
        (answer.code, answer.msg.as_str(), answer.details.as_str()),
        (103, "m", "d")
    );
    assert!(error.to_string().ends_with("failed: m; d"), "{error}");
    assert!(error.executed());
}

#[tokio::test]
async fn failure_without_cni_error_shows_output() {
    let script = "#!/bin/sh\necho oops\necho no route >&2\nexit 3\n";
    let error = run_script(script, b"", Limits::default())
        .await
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.ends_with(
            "failed (exit status: 3) without a CNI error, stdout: \"oops\", stderr: \"no route\""
        ),
        "{message}"
    );
    assert!(error.answer().is_none());
}

#[tokio::test]
async fn an_error_object_with_code_0_is_an_answer() {
    let script = "#!/bin/sh\necho '{\"code\":0,\"msg\":\"m\"}'\nexit 1\n";
    let error = run_script(script, b"", Limits::default())
        .await
        .unwrap_err();
    assert!(
        error.answer().is_some_and(|error| error.msg == "m"),
        "{error}"
    );
}

#[tokio::test]
async fn a_signal_is_named() {
    let script = "#!/bin/sh\nkill -SEGV $$\n";
    let error = run_script(script, b"", Limits::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Unexplained { status, .. } if status.signal() == Some(11)),
        "{error}"
    );
    assert!(error.to_string().contains("signal: 11"), "{error}");
}

#[tokio::test]
async fn a_long_diagnosis_is_cut_off() {
    let script = "#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' e >&2\nexit 1\n";
    let error = run_script(script, b"", Limits::default())
        .await
        .unwrap_err();
    assert!(error.to_string().len() < 3000);
}

#[tokio::test]
async fn a_binary_that_cannot_start_is_not_executed() {
    let plugins = Plugins::new();
    let path = plugins.path().join("plugin");
    File::create(&path).unwrap();
    for path in [path.as_path(), Path::new("/nonexistent/plugin")] {
        let error = execute(path, b"", Limits::default()).await.unwrap_err();
        assert!(matches!(error, Error::Spawn { .. }), "{error}");
        assert!(!error.executed());
    }
}

#[tokio::test]
async fn an_answer_is_a_refusal_and_a_signal_is_not() {
    for (script, is_refusal) in [
        ("echo '{\"code\":7,\"msg\":\"no\"}'; exit 1", true),
        ("echo 'cannot open shared object file' >&2; exit 127", true),
        (
            "echo 'level=info'; echo '{\"code\":7,\"msg\":\"no\"}'; exit 2",
            true,
        ),
        ("exit 255", true),
        ("yes", true),
        ("kill -KILL $$", false),
        ("sleep 60", false),
    ] {
        let limits = Limits {
            deadline: Duration::from_millis(500),
            ..Limits::default()
        };
        let text = format!("#!/bin/sh\n{script}\n");
        let error = run_script(&text, b"", limits).await.unwrap_err();
        assert_eq!(error.is_refusal(), is_refusal, "{script}: {error}");
    }
}
