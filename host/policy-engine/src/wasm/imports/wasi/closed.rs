//! Files and sockets, where every call is refused. Standard libraries of other languages import
//! them all, so the functions must exist, but nothing is behind them.

use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Component, Linker, Resource, ResourceAny, ResourceType, Val};
use wasmtime::{StoreContextMut, bail};

use crate::wasm::store::GuestState;

/// Packages whose calls are all refused.
const CLOSED: [&str; 2] = ["wasi:filesystem/", "wasi:sockets/"];
/// Maximum functions and resources that a component imports of WASI. All of WASI 0.2 has a few
/// hundred; the host's work on each resource grows with their number.
const MAX_ITEMS: usize = 4096;
/// Error codes for refusals, by preference: for files, for sockets, and generic.
const REFUSALS: [&str; 3] = ["not-permitted", "access-denied", "unknown"];

/// The type behind all descriptors, sockets and networks; no guest ever gets one.
struct Nothing;

/// Defines each function and resource of the closed packages that a component imports, by its type.
pub(super) fn link(linker: &mut Linker<GuestState>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    let kind = component.component_type();
    // Interfaces re-export resources of other interfaces; define those only at their origin.
    let mut defined: Vec<ResourceType> = Vec::new();
    let mut items = 0_usize;
    for (name, import) in kind.imports(&engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else {
            continue;
        };
        items = items.saturating_add(interface.exports(&engine).len());
        if items > MAX_ITEMS {
            bail!("more than {MAX_ITEMS} functions and resources");
        }
        let closed = CLOSED.iter().any(|package| name.starts_with(package));
        link_interface(linker, name, &interface, closed, &mut defined)?;
    }
    Ok(())
}

fn link_interface(
    linker: &mut Linker<GuestState>,
    name: &str,
    interface: &ComponentInstance,
    closed: bool,
    defined: &mut Vec<ResourceType>,
) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (export, item) in interface.exports(&engine) {
        match item.ty {
            ComponentItem::Resource(resource) if !defined.contains(&resource) => {
                defined.push(resource);
                if closed {
                    let nothing = ResourceType::host::<Nothing>();
                    linker
                        .instance(name)?
                        .resource(export, nothing, |_, _| Ok(()))?;
                }
            }
            ComponentItem::ComponentFunc(_) if closed => {
                let function = format!("{name}#{export}");
                linker
                    .instance(name)?
                    .func_new(export, move |store, kind, _, results| {
                        refuse(store, &function, &kind, results)
                    })?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Answers a call with an empty value, or with an error if the type has one.
fn refuse(
    mut store: StoreContextMut<'_, GuestState>,
    function: &str,
    kind: &ComponentFunc,
    results: &mut [Val],
) -> wasmtime::Result<()> {
    for (result, kind) in results.iter_mut().zip(kind.results()) {
        *result = match kind {
            Type::List(_) => Val::List(Vec::new()),
            Type::Option(_) => Val::Option(None),
            Type::Result(kind) => Val::Result(Err(refusal(function, kind.err())?)),
            Type::Own(_) => {
                let nothing = Resource::<Nothing>::new_own(0);
                Val::Resource(ResourceAny::try_from_resource(nothing, &mut store)?)
            }
            // Such functions take a resource, which no guest can get.
            _ => bail!("{function} is not available to policies"),
        };
    }
    Ok(())
}

fn refusal(function: &str, kind: Option<Type>) -> wasmtime::Result<Option<Box<Val>>> {
    match kind {
        None => Ok(None),
        Some(Type::Enum(codes)) => {
            let code = REFUSALS
                .into_iter()
                .find(|refusal| codes.names().any(|code| code == *refusal));
            match code {
                Some(code) => Ok(Some(Box::new(Val::Enum(code.to_owned())))),
                None => {
                    bail!("{function} is not available to policies, and has no error that says so")
                }
            }
        }
        Some(_) => bail!("{function} is not available to policies"),
    }
}
