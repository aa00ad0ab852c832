//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measures what a CNI call costs, in units of what it costs to start a process.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Task,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Measures and reports. Without a daemon's socket, starts the daemon of this build on the node
    /// that this runs on, which should be a private one (tests/node/enter).
    Run(Run),
    /// Prints the pods and networks that must exist in the cluster of a foreign daemon.
    Manifests,
    /// Draws the plots of a run.
    Plot {
        /// What `run` has written.
        report: PathBuf,
        /// The directory of the plots.
        directory: PathBuf,
    },
    /// Serves as the bare server that `run` compares with.
    #[command(hide = true)]
    Bare {
        /// Its socket.
        socket: PathBuf,
        /// What it executes for each request.
        delegate: PathBuf,
    },
    /// Compares two runs and names what got slower. Exit code 1 when something did.
    Compare {
        /// The run to compare with.
        stored: PathBuf,
        /// The run that may be slower.
        new: PathBuf,
    },
}

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Where the report goes, as JSON.
    #[arg(long, default_value = "target/bench/report.json")]
    pub(crate) output: PathBuf,
    /// Measures less precisely, in about a minute.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Section>,
    /// Further policy modules to measure, such as one of each language, each with its configuration in
    /// a file beside it, by its name with `.json`. May be given several times.
    #[arg(long, value_name = "WASM")]
    pub(crate) module: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) foreign: Option<Foreign>,
}

/// A part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Section {
    /// The shim alone.
    Shim,
    /// One call at a time.
    Latency,
    /// The same, and many at once, of a server that does nothing but start the delegate.
    Bare,
    /// Many calls at once.
    Burst,
    /// With an API server.
    Api,
    /// Real delegates.
    Real,
    /// What policies cost.
    Policies,
    /// Memory and start.
    Idle,
    /// Cost against what is on the node.
    Growth,
}

/// A daemon that runs already, of whatever make. Only calls are measured then.
#[derive(Debug, Args)]
#[group(requires_all = ["daemon_socket", "shim", "conf", "netns", "noop"])]
pub(crate) struct Foreign {
    /// The daemon's socket. Its default network, and the networks of `manifests`, must use a delegate
    /// of the type `noop`.
    #[arg(long, required = false)]
    pub(crate) daemon_socket: PathBuf,
    /// The plugin binary that the runtime executes.
    #[arg(long, required = false)]
    pub(crate) shim: PathBuf,
    /// The conf that the runtime gives to it.
    #[arg(long, required = false)]
    pub(crate) conf: PathBuf,
    /// A network namespace, for all pods.
    #[arg(long, required = false)]
    pub(crate) netns: PathBuf,
    /// The delegate that does nothing, for the yardstick.
    #[arg(long, required = false)]
    pub(crate) noop: PathBuf,
}
