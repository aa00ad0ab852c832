//! The command line and its manual.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use node_cli::{DoctorArgs, InstallArgs, ReadyArgs, UninstallArgs};
use policy_cli::{
    BenchArgs, BuildArgs, CheckArgs, ExplainArgs, InspectArgs, NewArgs, ReplayArgs, RunArgs,
    TestArgs,
};
use shim_api::log::LogChange;

/// Inspects the Cnidaria daemon on this node and compiles policies for it.
///
/// Cnidaria attaches pods to many networks, as Multus does, and runs sandboxed WebAssembly policies
/// on every attachment. This command shows node operators which policies are in force, what a
/// policy module contains and requires, and which pods are attached to which networks.
#[derive(Debug, Parser)]
#[command(
    name = "cnidaria",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// Directory of the daemon's socket
    ///
    /// The daemon listens on `multus.sock` in the directory `socketDir` of its configuration. Only
    /// root and the daemon's own user may connect. By default the command uses the directory in the
    /// configuration, /run/multus, or, as in the daemon's container, /host/run/multus: the first
    /// with a socket.
    #[arg(long, global = true, value_name = "DIR")]
    socket_dir: Option<PathBuf>,

    /// Output format of lists
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub(crate) output: Format,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// The directory of the daemon's socket.
    pub(crate) fn socket_dir(&self) -> PathBuf {
        node_cli::find_socket_dir(self.socket_dir.as_deref())
    }

    /// That directory, if given.
    pub(crate) fn given_socket_dir(&self) -> Option<&Path> {
        self.socket_dir.as_deref()
    }
}

const EXAMPLES: &str = "\
Exit status:
  0  success
  1  the daemon cannot be asked, a file is not usable, or another failure; standard error says why
  2  wrong usage
  3  a policy denied what `policy run` or `policy bench` asked for, cases of `policy test` failed,
     recorded requests of `policy replay` would change, or the ADD of `explain` would fail
  4  `uninstall` left the shim in place, since the ledger still has attachments
  5  `doctor` found errors

Examples:
  Which policies are in force, and what is wrong with the others:
    cnidaria policy list
  A new policy, from nothing to its first tests:
    cnidaria policy new vlan-guard --lang rust --hooks select,before-add
    cd vlan-guard && cnidaria policy build && cnidaria policy test
  Which pods have attachments that could not be undone:
    cnidaria --output json attachments | jq '.attachments[] | select(.state == \"undo-pending\")'
  A pod is stuck, since a plugin that was removed from the node cannot delete its net1:
    cnidaria attachments forget 0cc175b9c0f1b net1
  Why a pod has no net1, or what a new pod would get:
    cnidaria explain --pod shop/web-0
    cnidaria explain deployment.yaml
  Why a pod took long to start:
    cnidaria trace shop/web-0
  More of the log while you look at a fault, and as before:
    cnidaria log warning,cnidaria_kube=debug
    cnidaria log --reset
  Which pods are attached to what while the daemon is down, from the files of Cnidaria or Multus:
    cnidaria attachments --cni-dir /var/lib/cni/multus";

/// Output format of lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns that fit the terminal
    #[default]
    Table,
    /// All fields, for programs
    Json,
}

impl Command {
    /// Whether `--output json` has an effect.
    pub(crate) fn has_json(&self) -> bool {
        match self {
            Self::Attachments { command, .. } => command.is_none(),
            Self::Explain(_) | Self::Trace { .. } | Self::Log { .. } | Self::Doctor(_) => true,
            Self::Policy(command) => matches!(
                command,
                PolicyCommand::List
                    | PolicyCommand::Release { .. }
                    | PolicyCommand::Record(
                        RecordCommand::Start | RecordCommand::Stop | RecordCommand::Status
                    )
                    | PolicyCommand::Bench(_)
                    | PolicyCommand::Inspect(_)
                    | PolicyCommand::Replay(_)
            ),
            Self::Install(_)
            | Self::Uninstall(_)
            | Self::Bundle(_)
            | Self::Ready(_)
            | Self::Completion { .. }
            | Self::Man { .. } => false,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Inspects and compiles policies and policy modules
    #[command(subcommand)]
    Policy(PolicyCommand),

    /// Lists the attachments of the node's pods
    ///
    /// Prints everything in the daemon's ledger: attachments in use, and those that a DEL could not
    /// undo yet, with the reason and the number of attempts.
    #[command(args_conflicts_with_subcommands = true)]
    Attachments {
        #[command(subcommand)]
        command: Option<AttachmentsCommand>,

        /// Directory to read if the daemon is down
        ///
        /// The `cniDir` of the daemon's configuration, by default /var/lib/cni/multus. Its results
        /// use the format of Multus and the CNI library, so results written by Multus can be read
        /// too. They do not show which attachments are waiting to be undone.
        #[arg(long, value_name = "DIR")]
        cni_dir: Option<PathBuf>,
    },

    /// Explains what a pod would get, without touching the node
    ///
    /// Asks the daemon to plan the pod's ADD as it would for the runtime, with the policies that are
    /// loaded: each network in order, why the pod gets it, its conf after the policies and what each
    /// policy changed, or why the ADD would fail. Nothing is attached, recorded or counted. If the
    /// pod runs on this node, the difference to what is attached is shown too. Exits with 3 if the
    /// ADD would fail.
    Explain(ExplainPodArgs),

    /// Shows where the time of the last requests went
    ///
    /// Without an argument, lists the requests that the daemon keeps in memory, running ones
    /// included. With one, shows each stage, policy and delegate of a request as a waterfall. The id is
    /// the `request` of the daemon's log lines and, if the runtime traces, that of the runtime's trace.
    Trace {
        /// Id of a request or its first eight digits, or a pod: all of its requests
        #[arg(value_name = "ID|[NAMESPACE/]POD")]
        wanted: Option<String>,
    },

    /// Shows how much the daemon logs, or changes it until the daemon restarts
    ///
    /// A level is one of panic, error, warning, verbose and debug. A module is a target of the log's
    /// lines, and stands for those below it. Each change replaces the one before.
    Log {
        /// A level for all modules, MODULE=LEVEL for some, or both, separated by commas
        #[arg(value_name = "LEVEL[,MODULE=LEVEL]…", value_parser = crate::log::parse)]
        levels: Option<LogChange>,
        /// Go back to the levels of the configuration
        #[arg(long, conflicts_with = "levels")]
        reset: bool,
    },

    /// Installs the shim and the policy modules on this node
    ///
    /// Checks the directories first. Writes each file completely before it gets its name, so that a
    /// runtime finds the old or the new shim at any moment. `uninstall` removes all of it and puts
    /// back what was there before. The DaemonSet's init container runs this.
    Install(InstallArgs),

    /// Removes the conf, recorded state, the shim and the modules from this node
    ///
    /// New pods start with the primary network alone from the first moment on. Carries out recorded
    /// DELs and undoes the attachments of pods that are gone, through the running daemon or one that
    /// it starts. Keeps the shim and exits with 4 while the ledger has attachments of running pods.
    /// Changes nothing in the cluster.
    Uninstall(UninstallArgs),

    /// Checks this node, and says what is wrong and how to mend it
    ///
    /// Each check has a code, which docs/operations/doctor.md explains. Changes nothing. Exits with 5
    /// if anything keeps pods from their networks.
    Doctor(DoctorArgs),

    /// Collects what a maintainer asks for into one file, without secrets
    ///
    /// Versions, the daemon's configuration, findings of `doctor`, policies, attachments, the last
    /// requests, metrics, and names of confs. Lists all of it first. Leaves out tokens, passwords,
    /// certificates, and values of keys that the daemon does not know. Needs no daemon.
    Bundle(BundleArgs),

    /// Asks the daemon whether it accepts requests
    ///
    /// For probes: exits with 1 if no daemon serves, or if it is about to end.
    Ready(ReadyArgs),

    /// Prints the completion script of a shell
    ///
    /// For bash, for example: `cnidaria completion bash >/etc/bash_completion.d/cnidaria`.
    Completion {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: clap_complete::Shell,
    },

    /// Writes the manual pages into a directory, for packages
    #[command(hide = true)]
    Man {
        /// An existing directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainPodArgs {
    /// Manifest of a Pod, or of an object with a pod template, such as a Deployment; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "pod")]
    pub(crate) manifest: Option<PathBuf>,

    /// A pod of the cluster
    #[arg(long, value_name = "[NAMESPACE/]NAME", conflicts_with = "manifest")]
    pub(crate) pod: Option<String>,

    /// Namespace, if manifest or --pod names none
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,

    /// The runtime's CNI conf, or its directory of confs
    ///
    /// In a directory, the first conf counts that executes the shim. By default, the runtime's usual
    /// directory as the node or the DaemonSet's container sees it.
    #[arg(long, value_name = "PATH")]
    pub(crate) cni_conf: Option<PathBuf>,

    /// Shows whole confs
    #[arg(long)]
    pub(crate) confs: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BundleArgs {
    /// The file, which must not exist, or `-` for standard output [default: cnidaria-NODE-TIME.tar.gz]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Only list what would be in it
    #[arg(long, conflicts_with = "file")]
    pub(crate) list: bool,

    /// The daemon's configuration
    #[arg(long, value_name = "FILE", default_value = config::daemon::DEFAULT_PATH)]
    pub(crate) config: PathBuf,

    /// The directory in which the runtime executes plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub(crate) bin_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttachmentsCommand {
    /// Removes attachments from the ledger without undoing them
    ///
    /// For attachments that no DEL can undo because their plugin is gone for good or keeps failing.
    /// The daemon stops retrying and removes nothing from the node: interfaces, addresses and rules
    /// that the plugins created stay until you remove them. Asks for confirmation; without a
    /// terminal, --yes is required.
    Forget {
        /// Container id of the sandbox, or a unique prefix of it
        #[arg(value_name = "CONTAINER")]
        container: String,
        /// Interface to forget; by default, all of the sandbox
        #[arg(value_name = "IFNAME")]
        if_name: Option<String>,
        /// Directory of the ledger, if several have the container
        ///
        /// The `cniDir` of a runtime's conf. An id may be recorded in two: by an earlier use that is
        /// still being undone, and by the container that runs.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// What to do with the recording.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordCommand {
    /// Records requests from now on, until the daemon ends or `stop`
    Start,
    /// Records nothing from now on; the recording stays
    Stop,
    /// Shows whether requests are recorded, and where
    Status,
    /// Copies the recording into one file, which only you can read
    Export {
        /// The file; it must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Directory to read if the daemon is down
        ///
        /// `policies.record.directory` of the daemon's configuration, by default
        /// /var/lib/cnidaria/policy-record.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Lists the policies in execution order
    ///
    /// STATE is `loaded`; `loading` while the module is being compiled; `stale` if the newest file
    /// did not load and the last good one stays in force; `broken` if none loaded, so that matching
    /// ADDs fail; `quarantined` if the daemon ended during a call of the module, see `release`; or
    /// `off`. ASKED are the grants that the module's imports require, GRANTED those in its
    /// configuration. Errors of the policies are listed below the table.
    List,

    /// Releases a quarantined policy, or retries one whose compilation exceeded its limits
    ///
    /// A policy is `quarantined` if the daemon ended during the first calls of its module. It is
    /// then not loaded, whatever its file contains, until its module is replaced or it is released.
    /// The same holds for a module whose compilation exceeded its time or memory limit.
    Release {
        /// Name of the policy, as shown by `policy list`
        #[arg(value_name = "NAME")]
        name: String,
    },

    /// Creates a policy: source, settings, cases and a CI file
    ///
    /// Needs nothing but this binary, which contains the SDK and the WIT package. The project builds
    /// and passes its tests at once. Does not overwrite files.
    New(NewArgs),

    /// Builds the policy of a project
    ///
    /// Uses the toolchain of the project's language, and says which: cargo with the target
    /// wasm32-unknown-unknown or wasm32-wasip2, or Debian's; npm; Python; clang. Prints the module's
    /// size, hooks and grants.
    Build(BuildArgs),

    /// Checks a policy's configuration against its module
    ///
    /// Loads the policy as the daemon does. Each fault is one line with file, line, column and key;
    /// what has no effect is a warning.
    Check(CheckArgs),

    /// Runs a policy on one pod and shows what it does
    ///
    /// Attaches the pod with the daemon's own pipeline, but without plugins: delegates answer what
    /// --delegate says, or a plausible result. Needs neither root nor a daemon.
    Run(RunArgs),

    /// Tests a policy with cases
    ///
    /// Each YAML document is a case: a pod, its networks, what delegates answer, and what the policy
    /// should do. A failure is shown as a diff.
    Test(TestArgs),

    /// Measures what a policy costs, hook by hook
    ///
    /// Attaches, checks and detaches a pod many times, without plugins, and shows the time and the
    /// memory of each hook, of making an instance, and of compiling. The times are those of this
    /// machine.
    Bench(BenchArgs),

    /// Shows which verdicts and edits of recorded requests a module would change
    ///
    /// Offers the module what the recorded policy was offered, with the same answers to what it looks
    /// up, and compares. Needs neither root nor a daemon. The exit code is 3 if anything would change.
    Replay(ReplayArgs),

    /// Records the requests that the daemon's policies see
    ///
    /// The daemon keeps a bounded ring of whole requests, if its configuration has
    /// `policies.record`. Recordings have the annotations, confs and results of pods: only root may
    /// read them.
    #[command(subcommand)]
    Record(RecordCommand),

    /// Explains configuration keys, hooks, grants, limits, and the format of cases
    Explain(ExplainArgs),

    /// Shows the hooks and grants of a policy module
    ///
    /// Reads a component and lists its digest, size, hooks, imports, the grants that these require,
    /// and what an instance needs. Does not run it. With --diff, shows what differs from an older
    /// component. The exit code is 1 if the daemon would not load it.
    Inspect(InspectArgs),

    /// Compiles a policy module for this machine
    ///
    /// Only a daemon of the same version can load the artefact, and it trusts it: keep it where
    /// only root can write.
    Compile {
        /// The component, a .wasm file
        #[arg(value_name = "FILE", required_unless_present = "child")]
        module: Option<PathBuf>,
        /// Path of the artefact
        #[arg(
            short = 'o',
            long = "out",
            value_name = "OUT",
            required_unless_present = "child"
        )]
        out: Option<PathBuf>,
        /// For the daemon: reads standard input, writes standard output, drops unneeded privileges
        #[arg(long, value_name = "JSON", hide = true, conflicts_with_all = ["module", "out"])]
        child: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
