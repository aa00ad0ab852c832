//! Maps the settings of policies to the engine's configuration.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cnidaria_core::conf::timeouts::Timeouts;
use config::policies::PolicyConfig;

/// The engine's configuration.
pub(super) fn engine(config: &PolicyConfig, timeouts: &Timeouts) -> policy_engine::Config {
    let compiler = config.compiler.clone().unwrap_or_else(beside_this_binary);
    let mut engine = policy_engine::Config::new(&config.modules, &config.cache, compiler);
    engine.config_dir.clone_from(&config.configs);
    engine
        .exempt_namespaces
        .clone_from(&config.exempt_namespaces);
    engine.bypass_file.clone_from(&config.bypass_file);
    engine.request_timeout = timeouts.policies(config.request_timeout());
    engine.request_edit_bytes = config.request_edit_bytes.map(NonZeroU64::get);
    engine.request_edit_members = config.request_edit_members.map(NonZeroU64::get);
    engine.guest_memory_bytes = config.guest_memory_bytes;
    engine.compile_timeout = Duration::from_millis(config.compile_timeout_ms.get());
    engine.compile_memory_bytes = config.compile_memory_bytes.get();
    engine.recording = config.record.as_ref().map(|record| {
        let mut recording = policy_engine::Recording::new(&record.directory);
        recording.max_bytes = record.max_bytes.get();
        recording.at_start = record.at_start;
        let redact = record.redact.clone();
        recording.redaction = policy_engine::Redaction {
            annotations: redact.annotations,
            keys: redact.keys,
            pointers: redact.pointers,
        };
        recording
    });
    engine.required.clone_from(&config.required);
    engine.state_dir = Some(config.state.clone());
    engine.kept_dir = Some(config.cache.join("kept"));
    engine.quarantine_dir = Some(config.cache.join("quarantine"));
    engine
}

/// The `cnidaria` command line installed beside this daemon.
fn beside_this_binary() -> PathBuf {
    std::env::current_exe()
        .unwrap_or_default()
        .with_file_name("cnidaria")
}

/// Carries out an order to the recorder. Blocks for as long as the disk does.
pub(super) fn order(
    recorder: &Arc<policy_engine::record::Recorder>,
    order: shim_api::admin::Record,
) -> std::io::Result<policy_engine::record::Status> {
    use shim_api::admin::Record;
    match order {
        Record::Start => recorder.start()?,
        Record::Stop => recorder.stop(),
        Record::Flush => recorder.flush(),
    }
    recorder.status()
}
