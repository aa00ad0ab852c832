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
use crate::store::GuestState;

/// Gives a linker the imports that every policy has.
pub(crate) fn link_always(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    wit::settings::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    wit::log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

/// Gives a linker one import that needs a grant; nothing for grants that are kinds of edits.
pub(crate) fn link_granted(linker: &mut Linker<GuestState>, grant: Grant) -> wasmtime::Result<()> {
    match grant {
        Grant::Namespaces => wit::namespaces::add_to_linker::<_, HasSelf<_>>(linker, |state| state),
        Grant::Nads => wit::nads::add_to_linker::<_, HasSelf<_>>(linker, |state| state),
        Grant::Node => wit::node::add_to_linker::<_, HasSelf<_>>(linker, |state| state),
        Grant::Metrics => wit::metrics::add_to_linker::<_, HasSelf<_>>(linker, |state| state),
        Grant::Clock => wit::clock::add_to_linker::<_, HasSelf<_>>(linker, |state| state),
        Grant::Random => wit::random::add_to_linker::<_, HasSelf<_>>(linker, |state| state),
        Grant::State => wit::state::add_to_linker::<_, HasSelf<_>>(linker, |state| state),
        Grant::RewriteResult | Grant::ChangeType => Ok(()),
    }
}
