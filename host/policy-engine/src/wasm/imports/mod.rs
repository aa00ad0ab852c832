//! The host's side of the WIT package: the functions that guests call.
//!
//! One file per interface. Guest input is hostile until checked: the store bounds sizes before a
//! function here runs, and the transaction validates values.

mod attachment;
mod attachments;
mod convert;
mod granted;
pub(crate) mod handle;
mod log;
mod need;
mod outcome;
mod plan;
mod request;
mod selections;
mod settings;
mod state;
#[cfg(feature = "wasi")]
pub(crate) mod wasi;

use wasmtime::component::{HasSelf, Linker};

use crate::model::grant::Grant;
use crate::wasm::bindings::{cnidaria::policy as wit, v0_2};
use crate::wasm::store::GuestState;
use crate::wasm::version::Version;

pub(crate) use need::Need;

/// Adds an interface of the package to a linker, under the module's import name, which includes the
/// version that the module targets. Does nothing for other packages.
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
        Need::Types(Version::V0_3) => link!(types),
        Need::Types(Version::V0_1 | Version::V0_2) => {
            v0_2::cnidaria::policy::types::add_to_linker_instance::<_, HasSelf<_>>(
                &mut linker.instance(import)?,
                |state| state,
            )
        }
        Need::Settings => link!(settings),
        Need::Log => link!(log),
        Need::Grant(Grant::Attachments) => link!(attachments),
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
            | Grant::AppendPlugin
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
