use std::time::Duration;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Trials of a module that is not quarantined.
fn trials() -> Trials {
    let quarantine = std::sync::Arc::new(crate::load::quarantine::Quarantine::new(None));
    Trials::new(quarantine, "", "")
}

const COMPILER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/compiler");

fn cache(dir: &Path, binary: &str) -> Cache {
    let compiler = Compiler {
        binary: binary.into(),
        timeout: Duration::from_secs(60),
        memory: 1 << 30,
        cgroup: None,
    };
    Cache::new(dir.join("cache"), compiler)
}

/// Polls until the answer is no longer that the module is being compiled.
async fn settled(cache: &mut Cache, module: &Path, digest: &str) -> Error {
    let engines = Engines {
        slots: None,
        plain: crate::wasm::engine::engine().unwrap(),
    };
    let mut compiled = cache.compiled();
    loop {
        compiled.borrow_and_update();
        match cache.component(&engines, module, digest, &trials()) {
            Err(Error::Compiling) => compiled.changed().await.unwrap(),
            other => return other.map(drop).unwrap_err(),
        }
    }
}

/// Installs a shell script as the compiler in `dir`.
fn compiler(dir: &Path, script: &str) -> String {
    let link = dir.join("compiler");
    if !link.exists() {
        std::os::unix::fs::symlink(COMPILER, &link).unwrap();
    }
    fs::write(dir.join("does"), script).unwrap();
    link.to_str().unwrap().to_owned()
}

/// The artefact of the module that [`error`] asks for.
fn artefact(cache: &Cache) -> PathBuf {
    let hex = "0".repeat(64);
    cache.dir.join(format!("{hex}-{COMPATIBILITY}.cwasm"))
}

async fn error(cache: &mut Cache) -> String {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("module.wasm");
    fs::write(&module, "no component").unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    let error = settled(cache, &module, &digest).await;
    let source = std::error::Error::source(&error)
        .map(ToString::to_string)
        .unwrap_or_default();
    format!("{error}: {source}")
}

#[tokio::test]
async fn a_compiler_that_crashes_is_an_error_message() {
    let dir = tempfile::tempdir().unwrap();
    let crashing = compiler(dir.path(), "kill -SEGV $$");
    let message = error(&mut cache(dir.path(), &crashing)).await;
    assert!(message.contains("signal: 11"), "{message}");
    let left: Vec<_> = fs::read_dir(dir.path().join("cache")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_the_compiler_says_is_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let refusing = compiler(dir.path(), "echo \"no component: $1 $2 $3\" >&2; exit 1");
    let message = error(&mut cache(dir.path(), &refusing)).await;
    assert!(
        message.contains("does not compile: no component: policy compile --child"),
        "{message}"
    );
}

#[tokio::test]
async fn only_compiler_rejections_are_cached() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("module.wasm");
    fs::write(&module, "no component").unwrap();
    let runs = dir.path().join("runs");
    let mut cache = cache(dir.path(), &compiler(dir.path(), ""));
    let mut check = async |code: u8, digest: &str, expected: usize| {
        let count = format!("echo run >> {}", runs.display());
        compiler(dir.path(), &format!("{count}; echo no >&2; exit {code}"));
        cache.retry();
        for _ in 0..2 {
            let error = settled(&mut cache, &module, digest).await;
            assert!(!error.to_string().is_empty());
            let runs = fs::read_to_string(&runs).unwrap().lines().count();
            assert_eq!(runs, expected, "{code} {error}");
        }
    };
    let digest = crate::load::digest::of_file(&module).unwrap();
    check(1, &digest, 1).await;
    check(1, &digest, 2).await;
    check(REFUSED, &digest, 3).await;
    check(REFUSED, &digest, 3).await;
    // The rejected module does not have this digest.
    let other = format!("sha256:{}", "0".repeat(64));
    check(REFUSED, &other, 4).await;
    check(REFUSED, &other, 5).await;
}

#[tokio::test]
async fn a_module_that_timed_out_is_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("module.wasm");
    fs::write(&module, "no component").unwrap();
    let digest = crate::load::digest::of_file(&module).unwrap();
    let runs = dir.path().join("runs");
    let hangs = format!("echo run >> {}; exec /bin/sleep 1000", runs.display());
    let hanging = compiler(dir.path(), &hangs);
    let limited = |timeout_ms: u64| {
        let compiler = Compiler {
            binary: hanging.clone().into(),
            timeout: Duration::from_millis(timeout_ms),
            memory: 1 << 30,
            cgroup: None,
        };
        Cache::new(dir.path().join("cache"), compiler)
    };
    let check = async |cache: &mut Cache, expected: usize| {
        cache.retry();
        let error = settled(cache, &module, &digest).await;
        assert!(error.to_string().contains("did not end within"), "{error}");
        let runs = fs::read_to_string(&runs).unwrap().lines().count();
        assert_eq!(runs, expected);
    };
    let mut cache = limited(300);
    check(&mut cache, 1).await;
    check(&mut cache, 1).await;
    // Nor does the next daemon retry it, unless its timeout is longer.
    let mut cache = limited(300);
    check(&mut cache, 1).await;
    let mut cache = limited(400);
    check(&mut cache, 2).await;
    assert!(cache.forget(&digest));
    assert!(!cache.forget(&digest));
    check(&mut cache, 3).await;
}

#[tokio::test]
async fn a_module_that_takes_long_delays_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("slow.wasm"), "slow").unwrap();
    fs::write(path("fast.wasm"), "fast").unwrap();
    let script = r#"read -r word; [ "$word" = slow ] && exec /bin/sleep 1000; echo no >&2; exit 1"#;
    let mut cache = cache(dir.path(), &compiler(dir.path(), script));
    let engines = Engines {
        slots: None,
        plain: crate::wasm::engine::engine().unwrap(),
    };
    let of = |name: &str| crate::load::digest::of_file(&path(name)).unwrap();
    let slow = of("slow.wasm");
    let answer = |cache: &mut Cache| {
        let slow = cache.component(&engines, &path("slow.wasm"), &slow, &trials());
        matches!(slow, Err(Error::Compiling))
    };
    assert!(answer(&mut cache));
    let error = settled(&mut cache, &path("fast.wasm"), &of("fast.wasm")).await;
    assert_eq!(error.to_string(), "does not compile: no");
    assert!(answer(&mut cache) && cache.is_compiling());
}

#[tokio::test]
async fn a_missing_compiler_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = error(&mut cache(dir.path(), "/does/not/exist")).await;
    assert!(
        message.contains("cannot run the compiler /does/not/exist"),
        "{message}"
    );
}

#[tokio::test]
async fn a_cache_that_others_can_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = cache(dir.path(), "/bin/false");
    fs::create_dir(&cache.dir).unwrap();
    fs::set_permissions(&cache.dir, fs::Permissions::from_mode(0o777)).unwrap();
    let message = error(&mut cache).await;
    assert!(message.contains("its mode is 777"), "{message}");
}

#[tokio::test]
async fn symlinked_or_foreign_cache_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = cache(dir.path(), "/bin/false");
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &cache.dir).unwrap();
    let message = error(&mut cache).await;
    assert!(message.contains("it is a symbolic link"), "{message}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&elsewhere, Some(65534), None).unwrap();
        cache.dir = elsewhere;
        let message = error(&mut cache).await;
        assert!(message.contains("it belongs to user 65534"), "{message}");
    }
}

#[tokio::test]
async fn symlinked_or_writable_artefact_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = cache(dir.path(), "/bin/false");
    cache.prepare().unwrap();
    let artefact = artefact(&cache);
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, "machine code").unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &artefact).unwrap();
    let message = error(&mut cache).await;
    assert!(message.contains("it is a symbolic link"), "{message}");
    fs::rename(&elsewhere, &artefact).unwrap();
    fs::set_permissions(&artefact, fs::Permissions::from_mode(0o622)).unwrap();
    let message = error(&mut cache).await;
    assert!(message.contains("its mode is 622"), "{message}");
}

#[tokio::test]
async fn an_artefact_that_is_garbage_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = cache(dir.path(), "/bin/false");
    cache.prepare().unwrap();
    let artefact = artefact(&cache);
    fs::write(&artefact, "garbage").unwrap();
    fs::set_permissions(&artefact, fs::Permissions::from_mode(0o600)).unwrap();
    let message = error(&mut cache).await;
    assert!(
        message.contains("the compiler ended with exit status: 1"),
        "{message}"
    );
}

/// Opens the pipe in place of an artefact once something waits to read it.
fn write_to_pipe(dir: &Path) -> Option<fs::File> {
    use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
    let mut files = fs::read_dir(dir).ok()?.flatten();
    let pipe = files.find(|file| file.file_type().is_ok_and(|kind| kind.is_fifo()))?;
    let mut pipe_options = fs::OpenOptions::new();
    pipe_options.write(true);
    pipe_options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    pipe_options.open(pipe.path()).ok()
}

#[tokio::test]
async fn finishing_an_artefact_delays_no_request() {
    let dir = tempfile::tempdir().unwrap();
    // To open a pipe takes as long as a disk can: until something writes to it.
    let script = r#"out=$(readlink /proc/$$/fd/1); rm "$out"; mkfifo "$out""#;
    let mut cache = cache(dir.path(), &compiler(dir.path(), script));
    let module = dir.path().join("module.wasm");
    fs::write(&module, "module").unwrap();
    let digest = crate::load::digest::of(b"module");
    let (served, is_served) = std::sync::mpsc::channel();
    let artefacts = cache.dir.clone();
    let rescue = std::thread::spawn(move || {
        let is_stuck = is_served.recv_timeout(Duration::from_secs(60)).is_err();
        is_stuck.then(|| write_to_pipe(&artefacts))
    });
    let artefacts = cache.dir.clone();
    let request = async {
        while write_to_pipe(&artefacts).is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _ = served.send(());
    };
    let (error, ()) = tokio::join!(settled(&mut cache, &module, &digest), request);
    assert!(matches!(error, Error::Failed(_)), "{error}");
    assert!(rescue.join().unwrap().is_none(), "the runtime was stuck");
}

/// Polls until a dry run has ended.
async fn dry_run(cache: &mut Cache, digest: &str) -> Result<(), Error> {
    let spec = Spec::of_dry_run("", crate::config::Limits::default(), BTreeSet::new());
    let mut ended = cache.compiled();
    loop {
        ended.borrow_and_update();
        match cache.dry_run(digest, &spec) {
            Err(Error::DryRun) => ended.changed().await.unwrap(),
            other => return other,
        }
    }
}

#[tokio::test]
async fn only_a_dry_run_that_ended_well_is_recorded() {
    let records = |cache: &Cache| {
        let files = fs::read_dir(&cache.dir).unwrap().flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|end| end == "ran"))
            .count()
    };
    let check = async |script: &str, expected: usize, runs: usize| {
        let dir = tempfile::tempdir().unwrap();
        let counted = format!("echo run >> {}/runs; {script}", dir.path().display());
        let mut cache = cache(dir.path(), &compiler(dir.path(), &counted));
        cache.prepare().unwrap();
        for _ in 0..2 {
            cache.retry();
            for _ in 0..2 {
                dry_run(&mut cache, "sha256:0").await.unwrap();
            }
        }
        assert_eq!(records(&cache), expected, "{script}");
        let run = fs::read_to_string(dir.path().join("runs")).unwrap();
        assert_eq!(run.lines().count(), runs, "{script}");
    };
    check("exit 0", 1, 1).await;
    check("exit 1", 0, 2).await;
    check("kill -KILL $$", 0, 2).await;
    check("kill -XCPU $$", 0, 2).await;
}

#[tokio::test]
async fn small_modules_do_not_wait_for_big_ones() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    // Big modules wait until the small one has been compiled.
    let script = format!(
        "if test $(wc -c) -gt 2000000; then while ! test -e {}; do sleep 0.05; done; fi; exit 1",
        go.display()
    );
    let mut cache = cache(dir.path(), &compiler(dir.path(), &script));
    let big = dir.path().join("big.wasm");
    fs::write(&big, vec![0; 3_000_000]).unwrap();
    cache.prepare().unwrap();
    let places = std::thread::available_parallelism().map_or(1, usize::from);
    let compile_big = |cache: &mut Cache| {
        for number in 0..places.max(2) + 1 {
            let digest = format!("sha256:{number:064}");
            let artefact = cache.artefact(&digest);
            let error = cache.jobs.compile(&big, &digest, &artefact);
            assert!(matches!(error, Error::Compiling), "{error}");
        }
    };
    compile_big(&mut cache);
    tokio::task::yield_now().await;
    let small = dir.path().join("small.wasm");
    fs::write(&small, "small").unwrap();
    let digest = crate::load::digest::of_file(&small).unwrap();
    let error = settled(&mut cache, &small, &digest).await;
    assert!(!matches!(error, Error::Compiling));
    // None of them has ended.
    compile_big(&mut cache);
    fs::write(&go, "").unwrap();
}

/// Slow modules, more than there are places, make way for one that is not.
async fn makes_way(bytes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let script = format!(
        "if head -c 4 | grep -q slow; then while ! test -e {}; do sleep 0.05; done; fi; exit 1",
        go.display()
    );
    let mut cache = cache(dir.path(), &compiler(dir.path(), &script));
    cache.jobs.set_place_time(Duration::from_millis(50));
    cache.prepare().unwrap();
    let places = std::thread::available_parallelism().map_or(1, usize::from);
    let module = |name: &str| {
        let mut text = name.as_bytes().to_vec();
        text.resize(bytes, b' ');
        let path = dir.path().join(format!("{name}.wasm"));
        fs::write(&path, text).unwrap();
        path
    };
    let slow = module("slow");
    for number in 0..=places.max(2) {
        let digest = format!("sha256:{number:064}");
        let artefact = cache.artefact(&digest);
        let error = cache.jobs.compile(&slow, &digest, &artefact);
        assert!(matches!(error, Error::Compiling), "{error}");
    }
    tokio::task::yield_now().await;
    let quick = module("quick");
    let digest = crate::load::digest::of_file(&quick).unwrap();
    let error = settled(&mut cache, &quick, &digest).await;
    assert!(!matches!(error, Error::Compiling));
    // Those that made way left nothing, and begin again.
    assert!(cache.jobs.are_running());
    fs::write(&go, "").unwrap();
    let mut ended = cache.compiled();
    while cache.jobs.are_running() {
        ended.changed().await.unwrap();
    }
    let files = fs::read_dir(&cache.dir).unwrap().flatten();
    let left = files.filter(|file| file.path().extension().is_some_and(|end| end == "tmp"));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_slow_small_module_makes_way() {
    makes_way(100).await;
}

#[tokio::test]
async fn slow_big_modules_make_way() {
    makes_way(2_000_000).await;
}

#[cfg(feature = "compile")]
#[test]
fn a_loaded_artefact_outlives_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let plain = crate::wasm::engine::engine().unwrap();
    // A component of a module with a memory and a byte of data.
    let module =
        b"\0asm\x0d\0\x01\0\x01\x16\0asm\x01\0\0\0\x05\x03\x01\0\x01\x0b\x07\x01\0\x41\0\x0b\x01x";
    let code = plain.precompile_component(module).unwrap();
    let artefact = dir.path().join("module.cwasm");
    fs::write(&artefact, &code).unwrap();
    let engines = Engines { slots: None, plain };
    let loaded = |artefact: &Path| {
        let copy = Copy::of(artefact).unwrap();
        load(&engines, &copy.path()).unwrap()
    };
    let (truncated, overwritten) = (loaded(&artefact), loaded(&artefact));
    // Reading what lies behind the end of a mapped file is fatal.
    let file = fs::OpenOptions::new().write(true).open(&artefact).unwrap();
    file.set_len(0).unwrap();
    assert!(truncated.serialize().unwrap() == code);
    fs::write(&artefact, vec![0xcc; code.len()]).unwrap();
    assert!(overwritten.serialize().unwrap() == code);
    let names = fs::read_dir(dir.path()).unwrap();
    assert_eq!(names.count(), 1, "a copy has no name");
}
