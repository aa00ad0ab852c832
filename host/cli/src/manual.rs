//! Completions and manual pages, generated from the arguments.

use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Args;

/// The completion script of a shell.
pub(crate) fn completion(shell: Shell) -> String {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a page for the command and one for each subcommand, such as `cnidaria-policy-list.1`.
///
/// # Errors
/// The directory cannot be written to.
pub(crate) fn pages(directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Args::command(), directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_completes_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completion(shell);
            assert!(script.contains("attachments"), "{shell}");
            assert!(script.contains("inspect"), "{shell}");
        }
    }

    #[test]
    fn each_visible_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        pages(directory.path()).unwrap();
        let page = |name: &str| std::fs::read_to_string(directory.path().join(name));
        let list = page("cnidaria-policy-list.1").unwrap();
        assert!(list.contains("quarantined"), "{list}");
        let main = page("cnidaria.1").unwrap();
        assert!(main.contains("cnidaria\\-attachments(1)"), "{main}");
        page("cnidaria-man.1").unwrap_err();
    }
}
