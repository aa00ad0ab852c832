//! A module linked for one policy: its grants determine imports, its exports determine hooks.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::config::Limits;
use crate::model::grant::Grant;
use crate::wasm::engine::Engines;
use crate::wasm::footprint::Footprint;
use crate::wasm::hooks::{self, Hooks};
use crate::wasm::imports::{self, Need};
use crate::wasm::machine_code;
use crate::wasm::memory;
use crate::wasm::store::GuestState;
use crate::wasm::trials::Trials;
use crate::wasm::version::served;

/// A module ready to be instantiated for requests.
pub(crate) struct Module {
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) hooks: Hooks,
    /// Grants that the module's imports need.
    pub(crate) asked: BTreeSet<Grant>,
    /// What each of its instances costs besides memories and tables.
    pub(crate) footprint: Footprint,
    /// Which of its hooks have returned in this process.
    pub(crate) trials: Arc<Trials>,
    /// The same module without slots, if the instances of `pre` use slots.
    slotless: Option<Slotless>,
}

/// The fallback when all slots are taken. Linked on first use, because it takes memory.
struct Slotless {
    plain: Engine,
    grants: BTreeSet<Grant>,
    module: OnceCell<Arc<Module>>,
}

/// Why a module cannot be linked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Some imports need grants.
    #[error(
        "{}: give it in `grants`, or take the import out of the module", missing(.imports)
    )]
    NotGranted {
        /// The interfaces that lack their grants.
        imports: Vec<(String, Grant)>,
        /// All grants that the module needs.
        asked: BTreeSet<Grant>,
    },
    /// This host does not have an imported interface.
    #[error(
        "imports {import}, which this host does not have: it serves {}",
        served()
    )]
    Unknown {
        /// The interface, with package and version.
        import: String,
    },
    /// An import's type differs from the host's.
    #[error("an import has another type than the host's")]
    Link {
        /// wasmtime's error, which names the import.
        source: wasmtime::Error,
    },
    /// What a component imports of WASI cannot be linked.
    #[error("cannot link its imports of WASI")]
    Wasi {
        /// Why.
        source: wasmtime::Error,
    },
    /// The exports are wrong.
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
}

impl Module {
    /// Links a component, loaded for one of the engines, with the granted imports.
    pub(crate) fn link(
        engines: &Engines,
        (component, footprint): (&Component, Footprint),
        grants: &BTreeSet<Grant>,
        trials: &Arc<Trials>,
    ) -> Result<Self, Error> {
        let slots = engines.slots.as_ref();
        let slotless = slots
            .filter(|engine| Engine::same(engine, component.engine()))
            .map(|_| Slotless {
                plain: engines.plain.clone(),
                grants: grants.clone(),
                module: OnceCell::new(),
            });
        Ok(Self {
            slotless,
            ..Self::link_to(component.engine(), (component, footprint), grants, trials)?
        })
    }

    /// Whether its instances use slots.
    pub(crate) fn uses_slots(&self) -> bool {
        self.slotless.is_some()
    }

    /// All bytes that an instance may use under these limits.
    pub(crate) fn most(&self, limits: &Limits) -> u64 {
        memory::most(limits).saturating_add(self.footprint.bytes())
    }

    /// The same module with instances that need no slot; `None` if this one needs none. Copied on a
    /// blocking thread, once: machine code has megabytes.
    pub(crate) async fn without_slots(self: &Arc<Self>) -> Option<wasmtime::Result<Arc<Self>>> {
        let slotless = self.slotless.as_ref()?;
        let make = async || {
            let module = Arc::clone(self);
            spawn_blocking(move || module.copied().map(Arc::new)).await?
        };
        Some(slotless.module.get_or_try_init(make).await.cloned())
    }

    fn copied(&self) -> wasmtime::Result<Self> {
        let Some(Slotless { plain, grants, .. }) = &self.slotless else {
            return Err(wasmtime::Error::msg("the module needs no slots"));
        };
        let component = machine_code::copy(self.pre.component(), plain)?;
        let parts = (&component, self.footprint);
        Ok(Self::link_to(plain, parts, grants, &self.trials)?)
    }

    fn link_to(
        engine: &Engine,
        (component, footprint): (&Component, Footprint),
        grants: &BTreeSet<Grant>,
        trials: &Arc<Trials>,
    ) -> Result<Self, Error> {
        let mut asked = BTreeSet::new();
        let mut missing = Vec::new();
        let mut needs = Vec::new();
        for import in hooks::imported(engine, component) {
            let Some(need) = Need::of(&import) else {
                return Err(Error::Unknown { import });
            };
            if let Need::Grant(grant) = need {
                asked.insert(grant);
                if !grants.contains(&grant) {
                    missing.push((import, grant));
                    continue;
                }
            }
            needs.push((import, need));
        }
        if !missing.is_empty() {
            return Err(Error::NotGranted {
                imports: missing,
                asked,
            });
        }
        let failed = |source| Error::Link { source };
        let mut linker = Linker::new(engine);
        for (import, need) in &needs {
            imports::link(&mut linker, import, *need).map_err(failed)?;
        }
        if needs.iter().any(|(_, need)| *need == Need::Wasi) {
            link_wasi(&mut linker, component).map_err(|source| Error::Wasi { source })?;
        }
        let pre = linker.instantiate_pre(component).map_err(failed)?;
        let hooks = Hooks::of(engine, &pre)?;
        Ok(Self {
            pre,
            hooks,
            asked,
            footprint,
            trials: Arc::clone(trials),
            slotless: None,
        })
    }
}

fn missing(imports: &[(String, Grant)]) -> String {
    let each: Vec<String> = imports
        .iter()
        .map(|(import, grant)| {
            format!(
                "imports {import}, which needs the grant {:?}",
                grant.as_str()
            )
        })
        .collect();
    each.join("; ")
}

#[cfg(feature = "wasi")]
fn link_wasi(linker: &mut Linker<GuestState>, component: &Component) -> wasmtime::Result<()> {
    imports::wasi::link(linker, component)
}

/// Without WASI support: its imports are unknown, so none gets here.
#[cfg(not(feature = "wasi"))]
fn link_wasi(_: &mut Linker<GuestState>, _: &Component) -> wasmtime::Result<()> {
    Ok(())
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("hooks", &self.hooks)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}
