//! One policy without a node: the command line compiles a module in its own process, loads it with a
//! configuration, and runs requests through it, each with services of its own.
//!
//! Everything else is the daemon's: limits, grants, transaction and sessions.

mod configuration;
mod refusal;
mod replay;
mod services;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wasmtime::component::Component;

use crate::compile;
use crate::config::Config;
use crate::config::Spec;
use crate::config::schema;
use crate::load::description;
use crate::load::digest;
use crate::load::policy::Policy;
use crate::load::quarantine::Quarantine;
use crate::model::description::Description;
use crate::model::grant::Grant;
use crate::model::policy::Mode;
use crate::model::report::Hook;
use crate::model::request::{Command, RequestFacts};
use crate::run::host::PolicyHost;
use crate::wasm::allowance::Allowance;
use crate::wasm::engine::{self, Engines};
use crate::wasm::footprint::Footprint;
use crate::wasm::hooks;
use crate::wasm::imports::Need;
use crate::wasm::instance::Instance;
use crate::wasm::machine_code;
use crate::wasm::module::Module;
use crate::wasm::trials::Trials;

pub use crate::config::Position;
pub use configuration::{Configuration, Fault};
pub use refusal::Refusal;
pub use replay::{Replay, Replayed};
pub use services::{Environment, StateValue};

/// A compiled module.
pub struct Compiled {
    component: Component,
    digest: Arc<str>,
    description: Result<Option<Description>, String>,
    ready: Mutex<Vec<Ready>>,
}

/// The component for one [kind](engine::kind) of policies.
#[derive(Clone)]
struct Ready {
    kind: (u64, bool),
    engines: Engines,
    component: Component,
}

/// A policy that loaded: a module with its configuration.
pub struct Loaded {
    spec: Arc<Spec>,
    digest: Arc<str>,
    module: Arc<Module>,
}

impl Compiled {
    /// Compiles a module in this process.
    ///
    /// # Errors
    /// [`compile::Error`] if it is not a component, or the compiler rejects it.
    pub fn new(module: &[u8]) -> Result<Self, compile::Error> {
        compile::check_kind(module)?;
        let engine = engine::engine().map_err(compile::Error::Compile)?;
        let component = Component::new(&engine, module).map_err(compile::Error::Compile)?;
        Ok(Self {
            component,
            digest: digest::of(module).into(),
            description: description::of_bytes(module)
                .map_err(|error| cni_types::error::chain(&error)),
            ready: Mutex::default(),
        })
    }

    /// Digest of the module, `sha256:…`.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What the module says of itself, if it says anything.
    ///
    /// # Errors
    /// It is not what an SDK writes.
    pub fn description(&self) -> Result<Option<&Description>, &str> {
        let description = self.description.as_ref();
        description.map(Option::as_ref).map_err(String::as_str)
    }

    /// Bytes of the machine code.
    pub fn code_bytes(&self) -> usize {
        self.component.serialize().map_or(0, |code| code.len())
    }

    /// The hooks that the module exports; empty if the exports are wrong.
    pub fn hooks(&self) -> Vec<Hook> {
        let exported = hooks::exported(self.component.engine(), &self.component);
        exported
            .ok()
            .flatten()
            .map(|(_, hooks)| hooks)
            .unwrap_or_default()
    }

    /// The names of the grants that the module's imports need.
    pub fn asked(&self) -> Vec<&'static str> {
        let imports = hooks::imported(self.component.engine(), &self.component);
        let mut asked: Vec<Grant> = imports
            .iter()
            .filter_map(|import| match Need::of(import) {
                Some(Need::Grant(grant)) => Some(grant),
                _ => None,
            })
            .collect();
        asked.sort_unstable();
        asked.dedup();
        asked.into_iter().map(Grant::as_str).collect()
    }

    /// Whether the module imports WASI.
    pub fn imports_wasi(&self) -> bool {
        let imports = hooks::imported(self.component.engine(), &self.component);
        let needs = imports.iter().map(|import| Need::of(import));
        needs
            .into_iter()
            .any(|need| matches!(need, Some(Need::Wasi)))
    }

    /// Links the module with a configuration and offers it the settings, as the daemon does when it
    /// loads a policy.
    ///
    /// # Errors
    /// [`Refusal`] for whatever would keep the daemon from loading it.
    pub async fn load(&self, configuration: &Configuration) -> Result<Loaded, Refusal> {
        let spec = Arc::new(configuration.spec.clone());
        if let Some(expected) = spec
            .digest
            .as_ref()
            .filter(|digest| **digest != *self.digest)
        {
            return Err(Refusal::Digest {
                expected: expected.clone(),
                actual: self.digest.to_string(),
            });
        }
        let description = self.description().ok().flatten();
        if let Some(schema) = description.and_then(|said| said.settings.as_ref()) {
            schema::check(schema, &spec.settings)?;
        }
        let Ready {
            engines, component, ..
        } = self.ready(&spec).map_err(Refusal::engine)?;
        let quarantine = Arc::new(Quarantine::new(None));
        let trials = Arc::new(Trials::new(quarantine, &self.digest, &spec.name));
        let parts = (&component, Footprint::default());
        let module = Module::link(&engines, parts, &spec.grants, &trials)?;
        let loaded = Loaded {
            spec,
            digest: Arc::clone(&self.digest),
            module: Arc::new(module),
        };
        loaded.configure().await?;
        Ok(loaded)
    }

    fn ready(&self, spec: &Spec) -> wasmtime::Result<Ready> {
        let kind = engine::kind(&spec.limits);
        let mut known = self.ready.lock();
        if let Some(ready) = known.iter().find(|ready| ready.kind == kind) {
            return Ok(ready.clone());
        }
        let engines = Engines::ticking(&spec.limits)?;
        let slots = engines.slots.as_ref();
        let in_slots = slots.and_then(|engine| machine_code::copy(&self.component, engine).ok());
        let component = match in_slots {
            Some(component) => component,
            None => machine_code::copy(&self.component, &engines.plain)?,
        };
        let ready = Ready {
            kind,
            engines,
            component,
        };
        known.push(ready.clone());
        Ok(ready)
    }
}

impl Loaded {
    /// The policy's mode.
    pub fn mode(&self) -> Mode {
        self.spec.mode
    }

    /// A host with this policy alone. Hosts share the module and nothing else.
    pub fn host(&self, environment: &Environment) -> PolicyHost {
        let services = environment.services();
        environment.restore(&services.states, &self.spec);
        PolicyHost::of_policy(
            Config::new(Path::new(""), Path::new(""), Path::new("")),
            Arc::new(services),
            Arc::new(self.policy(Arc::clone(&self.spec))),
            environment.sink(),
        )
    }

    /// The policy with this configuration in place of its own.
    fn policy(&self, spec: Arc<Spec>) -> Policy {
        match spec.mode {
            Mode::Off => Policy::off(spec),
            Mode::Enforce | Mode::Audit => {
                Policy::loaded(spec, Arc::clone(&self.digest), Arc::clone(&self.module))
            }
        }
    }

    /// What the policy keeps in a host's state, in order of the keys.
    pub fn kept(&self, host: &PolicyHost) -> Vec<(String, Vec<u8>)> {
        let state = host.services().states.open(&self.spec.name);
        state
            .keys("")
            .into_iter()
            .filter_map(|key| state.get(&key).map(|value| (key, value)))
            .collect()
    }

    /// How long it takes to make an instance, as for each request.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if its start functions fail.
    pub async fn instantiate(&self) -> Result<Duration, Refusal> {
        let start = Instant::now();
        let instance = self.instance().await?;
        let took = start.elapsed();
        drop(instance);
        Ok(took)
    }

    /// Offers the settings to an instance that is then dropped.
    async fn configure(&self) -> Result<(), Refusal> {
        let mut instance = self.instance().await?;
        let answer = instance.configure(&self.spec.settings).await?;
        answer.map_err(Refusal::Settings)
    }

    async fn instance(&self) -> Result<Instance, Refusal> {
        let services = Arc::new(Environment::default().services());
        // Placeholders: configure runs outside of requests and cannot see these facts.
        let facts = Arc::new(RequestFacts::of_node(Command::Status));
        let limits = &self.spec.limits;
        let account = services.memory.account("");
        let reservation = account
            .reserve(&self.spec.name, self.module.most(limits))
            .await;
        let budget = (reservation, Allowance::of_call(limits));
        let (module, spec) = (Arc::clone(&self.module), Arc::clone(&self.spec));
        let mut instance = Instance::new(module, spec, facts, services, budget).await?;
        instance.load_hooks()?;
        Ok(instance)
    }
}
