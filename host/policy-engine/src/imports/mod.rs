//! The host's side of the WIT package: what guests call.
//!
//! One file an interface. Everything a guest hands over is hostile until checked: sizes are
//! bounded by the store before a function here runs, values are checked by the transaction.

mod attachment;
mod convert;
mod granted;
pub(crate) mod handle;
mod log;
mod outcome;
mod plan;
mod request;
mod selections;
mod settings;
mod state;

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::cnidaria::policy as wit;
use crate::config::Grant;
use crate::module::Need;
use crate::store::GuestState;

/// Gives a linker an interface of the package, under the name by which a module imports it: with the
/// version that the module targets. Nothing for what is not of the package.
pub(crate) fn link(
    linker: &mut Linker<GuestState>,
    import: &str,
    need: Need,
) -> wasmtime::Result<()> {
    macro_rules! link {
        ($interface:ident) => {
            wit::$interface::add_to_linker_instance::<_, HasSelf<_>>(
                &mut linker.instance(import)?,
                |state| state,
            )
        };
    }
    match need {
        Need::Types => link!(types),
        Need::Settings => link!(settings),
        Need::Log => link!(log),
        Need::Grant(Grant::Namespaces) => link!(namespaces),
        Need::Grant(Grant::Nads) => link!(nads),
        Need::Grant(Grant::Node) => link!(node),
        Need::Grant(Grant::Metrics) => link!(metrics),
        Need::Grant(Grant::Clock) => link!(clock),
        Need::Grant(Grant::Random) => link!(random),
        Need::Grant(Grant::State) => link!(state),
        Need::Grant(
            Grant::RewriteResult
            | Grant::ChangeType
            | Grant::RemovePlugin
            | Grant::MovePlugin
            | Grant::ChangePaths
            | Grant::ChangeCapabilities
            | Grant::ChangeDevices
            | Grant::ChangeFirewall,
        )
        | Need::Wasi => Ok(()),
    }
}
