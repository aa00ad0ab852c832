//! An empty WASI for modules of other languages: no files, no sockets, no environment, no standard
//! input. Standard output and error go to the policy's log. Without the grants `clock` and
//! `random`, time stands still and random numbers are always the same.

mod closed;

use wasmtime::component::{Component, Linker};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, terminal_input, terminal_output, terminal_stderr, terminal_stdin,
    terminal_stdout,
};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed};
use wasmtime_wasi::random::{WasiRandom, WasiRandomCtx};
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::wasm::store::GuestState;

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi().view()
    }
}

/// Links all WASI 0.2 interfaces that a component imports, except HTTP.
pub(crate) fn link(linker: &mut Linker<GuestState>, component: &Component) -> wasmtime::Result<()> {
    p2::add_to_linker_proxy_interfaces_async(linker)?;
    exit::add_to_linker::<GuestState, WasiCli>(linker, GuestState::cli)?;
    environment::add_to_linker::<GuestState, WasiCli>(linker, GuestState::cli)?;
    terminal_input::add_to_linker::<GuestState, WasiCli>(linker, GuestState::cli)?;
    terminal_output::add_to_linker::<GuestState, WasiCli>(linker, GuestState::cli)?;
    terminal_stdin::add_to_linker::<GuestState, WasiCli>(linker, GuestState::cli)?;
    terminal_stdout::add_to_linker::<GuestState, WasiCli>(linker, GuestState::cli)?;
    terminal_stderr::add_to_linker::<GuestState, WasiCli>(linker, GuestState::cli)?;
    insecure::add_to_linker::<GuestState, WasiRandom>(linker, random)?;
    insecure_seed::add_to_linker::<GuestState, WasiRandom>(linker, random)?;
    closed::link(linker, component)
}

fn random(state: &mut GuestState) -> &mut WasiRandomCtx {
    state.ctx().ctx.random()
}
