//! What an instance of a module costs the host besides linear memories and tables.
//!
//! wasmtime makes an instance without interruption, and keeps its globals, functions and segments
//! on the heap. No deadline and no limit of the guest covers either. So a module is refused when
//! it loads if its instances would take long, and what they keep is charged like their memory.

use std::fmt;
use std::fs::File;
use std::path::Path;

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _, ReadCache};
use wasmtime_environ::component::{
    Component, ComponentArtifacts, GlobalInitializer, InstantiateModule, VMComponentOffsets,
};
use wasmtime_environ::obj::ELF_WASMTIME_INFO;
use wasmtime_environ::{Abi, CompiledModuleInfo, FuncKey, Module, VMOffsets};

/// Bytes of a pointer, for the layout of instances.
const POINTER: u8 = 8;
/// Bytes of an element in an element segment.
const ELEMENT: u64 = 16;
/// Bytes of a store without instances: its handles, buffers and bookkeeping.
const STORE: u64 = 64 << 10;
/// Bytes of a core instance beside what it counts.
const INSTANCE: u64 = 1 << 10;

/// Most bytes of an artefact that describe its component. Read, they take forty times the memory. A
/// module that exports 60,000 functions has half of this.
const MAX_INFO: u64 = 4 << 20;

/// Something of which an instance has a number, all its core instances together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Globals,
    Imports,
    Functions,
    Elements,
    Segments,
    Data,
    Startup,
    Steps,
}

impl Part {
    const ALL: [Self; 8] = [
        Self::Globals,
        Self::Imports,
        Self::Functions,
        Self::Elements,
        Self::Segments,
        Self::Data,
        Self::Startup,
        Self::Steps,
    ];

    /// The most that a module may have. A JavaScript policy has a hundredth of each.
    fn bound(self) -> u64 {
        match self {
            Self::Globals | Self::Imports | Self::Elements => 65_536,
            Self::Functions => 131_072,
            Self::Segments | Self::Steps => 32_768,
            Self::Data => 16 << 20,
            Self::Startup => 4 << 20,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Globals => "globals",
            Self::Imports => "imports of core instances",
            Self::Functions => "functions that are exported or in tables",
            Self::Elements => "elements of element segments",
            Self::Segments => "data segments",
            Self::Data => "bytes of data segments to copy",
            Self::Startup => "bytes of machine code that initializes it",
            Self::Steps => "steps of instantiation",
        })
    }
}

/// Why a module's instances are not affordable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The host's work on each instance would freeze the requests of the node.
    #[error(
        "each instance of the module has {count} {part}, at most {bound} are possible",
        bound = part.bound()
    )]
    TooLarge {
        /// What was counted.
        part: Part,
        /// The number, all core instances together.
        count: u64,
    },
    /// Reading what the artefact says would take much of the daemon's memory: a small module can
    /// describe millions of instances.
    #[error(
        "the compiled module describes itself in {0} bytes, at most {MAX_INFO} are possible: it has too many types, exports or instances"
    )]
    Description(u64),
    /// The artefact cannot be read.
    #[error("cannot read the artefact")]
    Read(#[from] std::io::Error),
    /// The artefact is not an object file of wasmtime.
    #[error("the artefact is not an object file")]
    Object(#[from] object::Error),
    /// The artefact describes its modules differently than this wasmtime.
    #[error("the artefact describes no component")]
    Format(#[from] postcard::Error),
}

/// What one instance of a module keeps and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footprint {
    counts: [u64; Part::ALL.len()],
    /// Bytes on the heap, in addition to linear memories and tables.
    bytes: u64,
}

impl Default for Footprint {
    fn default() -> Self {
        Self {
            counts: [0; Part::ALL.len()],
            bytes: STORE,
        }
    }
}

impl Footprint {
    /// Checks that describing the component takes a bounded part of the artefact, without reading it.
    /// An artefact that is not an object file passes: wasmtime rejects it.
    ///
    /// # Errors
    /// [`Error::Description`], or [`Error::Read`].
    pub(crate) fn is_described_briefly(artefact: &Path) -> Result<(), Error> {
        let file = ReadCache::new(File::open(artefact)?);
        let Ok(object) = ElfFile64::<Endianness, _>::parse(&file) else {
            return Ok(());
        };
        let info = object.section_by_name(ELF_WASMTIME_INFO);
        match info.map_or(0, |section| section.size()) {
            bytes if bytes > MAX_INFO => Err(Error::Description(bytes)),
            _ => Ok(()),
        }
    }

    /// Counts what an instance of an artefact has.
    ///
    /// # Errors
    /// [`Error`] if the artefact cannot be read, or counts more than is possible.
    pub(crate) fn of(artefact: &Path) -> Result<Self, Error> {
        let file = ReadCache::new(File::open(artefact)?);
        let object = ElfFile64::<Endianness, _>::parse(&file)?;
        let info = object.section_by_name(ELF_WASMTIME_INFO);
        let info = info.map_or(Ok(&[][..]), |section| section.data())?;
        let artifacts: ComponentArtifacts = postcard::from_bytes(info)?;
        let footprint = Self::of_component(&artifacts);
        footprint.check().map(|()| footprint)
    }

    /// Bytes that each instance keeps besides linear memories and tables.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn check(&self) -> Result<(), Error> {
        let counts = Part::ALL.into_iter().zip(self.counts);
        for (part, count) in counts {
            if count > part.bound() {
                return Err(Error::TooLarge { part, count });
            }
        }
        Ok(())
    }

    fn of_component(artifacts: &ComponentArtifacts) -> Self {
        let component = &artifacts.info.component;
        let mut footprint = Self::default();
        footprint.bytes += context(component);
        footprint.add(Part::Steps, component.initializers.len());
        for initializer in &component.initializers {
            // No policy can import a module: its imports are interfaces.
            if let GlobalInitializer::InstantiateModule(InstantiateModule::Static(index, _), _) =
                initializer
                && let Some(CompiledModuleInfo { module, .. }) =
                    artifacts.static_modules.get(*index)
            {
                footprint.add_instance(module);
                for abi in [Abi::Wasm, Abi::Array] {
                    let code = artifacts
                        .table
                        .func_loc(FuncKey::ModuleStartup(abi, *index));
                    let bytes = code.map_or(0, |code| u64::from(code.length));
                    footprint.add_number(Part::Startup, bytes);
                }
            }
        }
        footprint
    }

    fn add_instance(&mut self, module: &Module) {
        let imports = module.initializers.len();
        self.add(
            Part::Globals,
            module
                .globals
                .len()
                .saturating_sub(module.num_imported_globals),
        );
        self.add(Part::Imports, imports);
        self.add(Part::Functions, module.num_escaped_funcs);
        let mut elements = 0_u64;
        for (_, (_, count)) in module.passive_elements.iter() {
            elements = elements.saturating_add(*count);
        }
        self.add_number(Part::Elements, elements);
        if module.memory_initialization.is_segmented() {
            self.add(Part::Segments, module.runtime_data.len());
            let data = module.runtime_data.iter();
            let bytes = data.map(|(_, range)| u64::from(range.end.saturating_sub(range.start)));
            self.add_number(Part::Data, bytes.sum());
        }
        let context = VMOffsets::new(POINTER, module).size_of_vmctx();
        self.bytes = self
            .bytes
            .saturating_add(INSTANCE)
            .saturating_add(u64::from(context))
            .saturating_add(elements.saturating_mul(ELEMENT));
    }

    fn add(&mut self, part: Part, count: usize) {
        self.add_number(part, u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn add_number(&mut self, part: Part, count: u64) {
        if let Some(sum) = self.counts.get_mut(part as usize) {
            *sum = sum.saturating_add(count);
        }
    }
}

/// Bytes of the component's own context.
fn context(component: &Component) -> u64 {
    u64::from(VMComponentOffsets::new(POINTER, component).size_of_vmctx())
}
