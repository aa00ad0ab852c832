//! The WASI state of one instance: clocks, random numbers and the captured output.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView};

use crate::config::{Spec, count};
use crate::model::grant::Grant;

/// Maximum streams and pollables that a guest may have at a time.
const MAX_RESOURCES: usize = 256;
/// Maximum random bytes of one call.
const MAX_RANDOM: u64 = 4096;

/// The WASI state of one instance.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    output: Output,
}

impl Wasi {
    /// WASI for a policy, according to its grants.
    pub(crate) fn new(spec: &Spec) -> Self {
        // More than the log budget would not be logged either.
        let output = Output::new(count(spec.limits.log_bytes));
        let mut builder = WasiCtxBuilder::new();
        builder
            .stdout(output.clone())
            .stderr(output.clone())
            .max_random_size(MAX_RANDOM);
        if !spec.grants.contains(&Grant::Clock) {
            builder.wall_clock(Still).monotonic_clock(Still);
        }
        if !spec.grants.contains(&Grant::Random) {
            builder
                .secure_random(Deterministic::new(vec![4]))
                .insecure_random(Deterministic::new(vec![4]))
                .insecure_random_seed(4);
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            ctx: builder.build(),
            table,
            output,
        }
    }

    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        let Self { ctx, table, .. } = self;
        WasiCtxView { ctx, table }
    }

    /// The output since the last call.
    pub(crate) fn take_output(&mut self) -> String {
        let output = std::mem::take(&mut self.output.lock().bytes);
        String::from_utf8_lossy(&output).into_owned()
    }
}

/// Standard output and error: bounded, but never full, because a failed write crashes most
/// languages.
#[derive(Debug, Clone)]
struct Output(Arc<Mutex<Captured>>);

#[derive(Debug)]
struct Captured {
    bytes: Vec<u8>,
    room: usize,
}

/// Bytes that a guest may write at a time.
const CHUNK: usize = 8 << 10;

impl Output {
    fn new(room: usize) -> Self {
        Self(Arc::new(Mutex::new(Captured {
            bytes: Vec::new(),
            room,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Captured> {
        self.0.lock()
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut captured = self.lock();
        let fitting = bytes
            .get(..bytes.len().min(captured.room))
            .unwrap_or_default();
        captured.bytes.extend_from_slice(fitting);
        captured.room -= fitting.len();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    /// Used only by WASI 0.3, which is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

/// A clock that always reads zero.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}
