//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measures the cost of CNI calls, in units of starting a process.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Task,
}

/// The task.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Measures and reports. Without a daemon's socket, starts this build's daemon on the current
    /// node, which should be a private one (tests/node/enter).
    Run(Run),
    /// Prints the pods and networks that a foreign daemon's cluster must have.
    Manifests,
    /// Draws the plots of a report.
    Plot {
        /// The report that `run` wrote.
        report: PathBuf,
        /// The output directory.
        directory: PathBuf,
    },
    /// Runs the bare server that `run` compares with.
    #[command(hide = true)]
    Bare {
        /// Its socket.
        socket: PathBuf,
        /// The delegate to execute for each request.
        delegate: PathBuf,
    },
    /// Compares two reports and lists what got slower. Exits with 1 if anything did.
    Compare {
        /// The baseline report.
        stored: PathBuf,
        /// The report to check.
        new: PathBuf,
    },
}

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Where to write the report, as JSON.
    #[arg(long, default_value = "target/bench/report.json")]
    pub(crate) output: PathBuf,
    /// Measures less precisely, in about a minute.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Runs only these sections.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Section>,
    /// Additional policy modules to measure, such as one per language. A module's configuration is
    /// in the file of its name with `.json`. May be repeated.
    #[arg(long, value_name = "WASM")]
    pub(crate) module: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) foreign: Option<Foreign>,
}

/// A section of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Section {
    /// The shim alone.
    Shim,
    /// One call at a time.
    Latency,
    /// A server that does nothing but start the delegate: single calls and bursts.
    Bare,
    /// Many concurrent calls.
    Burst,
    /// With an API server.
    Api,
    /// Real delegates.
    Real,
    /// The cost of policies.
    Policies,
    /// The cost of edits, and of what tenants write, by its size.
    Edits,
    /// The cost of large modules.
    Modules,
    /// Memory and start-up time.
    Idle,
    /// Cost by how much the node holds.
    Growth,
}

/// A running daemon, of any implementation. Only calls are measured.
#[derive(Debug, Args)]
#[group(requires_all = ["daemon_socket", "shim", "conf", "netns", "noop"])]
pub(crate) struct Foreign {
    /// The daemon's socket. Its default network, and the networks of `manifests`, must use a
    /// delegate of type `noop`.
    #[arg(long, required = false)]
    pub(crate) daemon_socket: PathBuf,
    /// The plugin binary that the runtime executes.
    #[arg(long, required = false)]
    pub(crate) shim: PathBuf,
    /// The conf that the runtime passes to the shim.
    #[arg(long, required = false)]
    pub(crate) conf: PathBuf,
    /// A network namespace to use for all pods.
    #[arg(long, required = false)]
    pub(crate) netns: PathBuf,
    /// The no-op delegate, for the yardstick.
    #[arg(long, required = false)]
    pub(crate) noop: PathBuf,
}
