//! A first instance of a compiled module, in a process that may crash.

use std::io;
use std::sync::Arc;

use crate::config::Spec;
use crate::load::confinement::DryRun;
use crate::load::quarantine::Quarantine;
use crate::model::request::{Command, RequestFacts};
use crate::state::States;
use crate::wasm::allowance::Allowance;
use crate::wasm::engine::Engines;
use crate::wasm::footprint::Footprint;
use crate::wasm::instance::Instance;
use crate::wasm::machine_code;
use crate::wasm::memory::Memory;
use crate::wasm::module::Module;
use crate::wasm::services::Services;
use crate::wasm::trials::Trials;

/// Makes an instance and offers it its settings. Only a crash of this process matters: whatever
/// else goes wrong, the daemon finds out itself.
///
/// # Errors
/// There was none, for a reason that another process may not have.
pub(super) fn dry_run(dry_run: &DryRun, artefact: &[u8], settings: &str) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let engines = Engines::without_slots(&dry_run.limits).map_err(io::Error::other)?;
    let component = machine_code::read(&engines.plain, artefact).map_err(io::Error::other)?;
    let quarantine = Arc::new(Quarantine::new(None));
    let trials = Arc::new(Trials::new(quarantine, "", ""));
    let parts = (&component, Footprint::default());
    let Ok(module) = Module::link(&engines, parts, &dry_run.grants, &trials) else {
        return Ok(());
    };
    let spec = Spec::of_dry_run(settings, dry_run.limits, dry_run.grants.clone());
    runtime.block_on(configure(Arc::new(module), Arc::new(spec)));
    Ok(())
}

async fn configure(module: Arc<Module>, spec: Arc<Spec>) {
    let services = Arc::new(Services {
        cluster: None,
        observer: None,
        states: Arc::new(States::new(None, None)),
        memory: Arc::new(Memory::new(u64::MAX)),
        turns: Arc::default(),
        witness: None,
        clock: None,
    });
    let facts = Arc::new(RequestFacts::of_node(Command::Status));
    let account = services.memory.account("");
    let reservation = account.reserve(&spec.name, module.most(&spec.limits)).await;
    let budget = (reservation, Allowance::of_call(&spec.limits));
    let made = Instance::new(module, Arc::clone(&spec), facts, services, budget).await;
    let Ok(mut instance) = made else {
        return;
    };
    if instance.load_hooks().is_ok() {
        // An error is the daemon's to report.
        let _ = instance.configure(&spec.settings).await;
    }
}
