//! The command line as it is typed, and its manual.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use shim_api::endpoint::DEFAULT_SOCKET_DIR;

/// Looks into the Cnidaria daemon of this node, and prepares policies for it.
///
/// Cnidaria attaches pods to many networks, as Multus does, and runs sandboxed WebAssembly policies
/// over every attachment. This command answers the questions of whoever operates a node: which
/// policies are in force, what a policy module is and asks for, and which pods are attached to what.
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
    /// The daemon listens on `multus.sock` in the directory that its configuration calls `socketDir`.
    /// Only root and the daemon's own user may ask it.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_SOCKET_DIR)]
    pub(crate) socket_dir: PathBuf,

    /// How lists are printed
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

const EXAMPLES: &str = "\
Exit status:
  0  success
  1  the daemon cannot be asked, or a file is not usable; standard error says why
  2  wrong usage

Examples:
  Which policies are in force, and what is wrong with the others:
    cnidaria policy list
  Which pods have attachments that could not be undone:
    cnidaria --output json attachments | jq '.attachments[] | select(.state == \"undo-pending\")'
  A pod is stuck, since a plugin that was removed from the node cannot delete its net1:
    cnidaria attachments forget 0cc175b9c0f1b net1
  Which pods are attached to what while the daemon is down, from the files of Cnidaria or Multus:
    cnidaria attachments --cni-dir /var/lib/cni/multus";

/// How lists are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people, as wide as the terminal
    #[default]
    Table,
    /// Everything there is, for programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Works with policies and policy modules
    #[command(subcommand)]
    Policy(PolicyCommand),

    /// Lists the attachments of the node's pods
    ///
    /// Asks the daemon for everything in its ledger: attachments that are in use, and those that
    /// a DEL could not undo yet, with the reason and how often it was tried.
    #[command(args_conflicts_with_subcommands = true)]
    Attachments {
        #[command(subcommand)]
        command: Option<AttachmentsCommand>,

        /// Read this directory if the daemon is away
        ///
        /// The `cniDir` of the daemon's configuration, /var/lib/cni/multus by default there. Results in
        /// it are in the format of Multus and the CNI library, so what Multus wrote can be read too.
        /// They do not say which attachments wait to be undone.
        #[arg(long, value_name = "DIR")]
        cni_dir: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttachmentsCommand {
    /// Lets the daemon forget attachments without undoing them
    ///
    /// For attachments that no DEL can undo: their plugin is gone for good, or keeps failing. The
    /// daemon no longer tries, and nothing on the node is taken away: interfaces, addresses and rules
    /// that the plugins made stay until you remove them. Says what is meant and asks; where it cannot
    /// ask, it needs --yes.
    Forget {
        /// Container id of the sandbox, or so much of its beginning that no other has it
        #[arg(value_name = "CONTAINER")]
        container: String,
        /// The interface; without it, everything of the sandbox
        #[arg(value_name = "IFNAME")]
        if_name: Option<String>,
        /// Does not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Lists the policies in the order in which they run
    ///
    /// STATE is `loaded`; `loading` if its module is still being compiled; `stale` if the newest file did not load and the last good one stays in
    /// force; `broken` if none did, so that ADDs which the policy would have seen fail; `quarantined` if
    /// the daemon ended while it called the module, see `release`; or `off`.
    /// ASKED are the grants that the module's imports ask for, GRANTED those of its configuration.
    /// Below the table stands what is wrong with which policy.
    List,

    /// Has a quarantined policy loaded again, or one compiled again that took too long
    ///
    /// A policy is `quarantined` if the daemon ended while it called the policy's module for the first
    /// time. It is not loaded then, whatever its file is, until its module is replaced or it is released.
    /// The same holds for a module that did not compile within the time or the memory that it may have.
    Release {
        /// Its name, as `policy list` shows it
        #[arg(value_name = "NAME")]
        name: String,
    },

    /// Shows what a policy module is
    ///
    /// Reads a component and lists its hooks, the grants that its imports ask for, and its digest.
    /// Runs nothing of it.
    Inspect {
        /// The component, a .wasm file
        #[arg(value_name = "FILE")]
        module: PathBuf,
    },

    /// Compiles a policy module for this machine
    ///
    /// The artefact is for the daemon of the same version alone, and the daemon trusts it: keep it
    /// where only root can write.
    Compile {
        /// The component, a .wasm file
        #[arg(value_name = "FILE", required_unless_present = "child")]
        module: Option<PathBuf>,
        /// Where the artefact goes
        #[arg(
            short = 'o',
            long = "out",
            value_name = "OUT",
            required_unless_present = "child"
        )]
        out: Option<PathBuf>,
        /// For the daemon: reads standard input, writes standard output, gives up what is not needed
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
