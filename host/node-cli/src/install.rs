//! `cnidaria install`: puts the shim, under both of its names, and the modules of policies in place.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use files::Links;
use rustix::fs::{Access, StatVfsMountFlags};

use crate::Output;
use crate::args::InstallArgs;
use crate::installation::{Installation, New};

/// The names of the shim: the one in Multus' confs, and our own.
pub(crate) const SHIM_NAMES: [&str; 2] = ["multus-shim", "cnidaria-shim"];
/// Maximum size of a shim or module.
const MAX_BYTES: u64 = 64 << 20;
/// Exit code if the node is not fit for the installation.
const UNFIT: u8 = 1;
/// Free space that has to remain in the directories.
const RESERVE_BYTES: u64 = 1 << 20;

/// Whether a file is a shim of this project: the name of a key that only it reads.
pub(crate) fn is_our_shim(content: &[u8]) -> bool {
    let wanted = b"cnidaria.shim";
    content.windows(wanted.len()).any(|part| part == wanted)
}

/// Modules of versions that kept no record cannot be told from an operator's own.
pub(crate) fn no_module(_: &[u8]) -> bool {
    false
}

/// Checks the node and, unless only that was asked for, installs.
///
/// # Errors
/// A source cannot be read, or a file cannot be written.
pub fn install(args: &InstallArgs) -> Result<Output, Box<dyn Error>> {
    let shim = match &args.shim {
        Some(shim) => shim.clone(),
        None => std::env::current_exe()?.with_file_name("cnidaria-shim"),
    };
    let path = shim;
    let shim = read(&path)?;
    if !is_our_shim(&shim) {
        return Err(format!("{} is not cnidaria-shim", path.display()).into());
    }
    let modules = match &args.policies_dir {
        Some(_) => modules(&args.modules)?,
        None => Vec::new(),
    };
    let bytes = modules.iter().map(|module| module.content.len());
    let bytes = bytes.sum::<usize>() + SHIM_NAMES.len() * shim.len();
    let mut problems = unfit(&args.bin_dir, true, bytes);
    problems.extend(unreadable(&args.bin_dir, SHIM_NAMES));
    if let Some(dir) = &args.policies_dir {
        problems.extend(unfit(dir, false, bytes));
        let names = modules.iter().map(|module| module.name.as_str());
        problems.extend(unreadable(dir, names));
    }
    if !problems.is_empty() {
        let text = problems.iter().map(|problem| format!("{problem}\n"));
        return Ok(Output {
            text: text.collect(),
            code: UNFIT,
        });
    }
    if args.pre {
        let text = "the node is fit for the installation\n".to_owned();
        return Ok(Output { text, code: 0 });
    }
    if let Some(dir) = &args.policies_dir {
        Installation::in_dir(dir).put(&modules, no_module)?;
    }
    let shims = SHIM_NAMES.map(|name| New {
        name: name.to_owned(),
        content: shim.clone(),
        mode: 0o755,
    });
    Installation::in_dir(&args.bin_dir).put(&shims, is_our_shim)?;
    Ok(Output {
        text: format!(
            "installed {} in {} and {} modules\n",
            SHIM_NAMES.join(", "),
            args.bin_dir.display(),
            modules.len()
        ),
        code: 0,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", path.display());
    Ok(files::read(path, Links::Follow, MAX_BYTES).map_err(failed)?)
}

/// The modules in a directory; none without the directory.
fn modules(dir: &Path) -> Result<Vec<New>, Box<dyn Error>> {
    let found = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(|error| format!("cannot read {}: {error}", dir.display()))?,
    };
    let mut paths = Vec::new();
    for file in found {
        paths.push(file?.path());
    }
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "wasm")
    });
    paths.sort();
    let module = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default();
        Ok(New {
            name: name.to_string_lossy().into_owned(),
            content: read(&path)?,
            mode: 0o644,
        })
    };
    paths.into_iter().map(module).collect()
}

/// Why files cannot be installed in a directory; `must_run` if the runtime executes them there.
fn unfit(dir: &Path, must_run: bool, bytes: usize) -> Vec<String> {
    let shown = dir.display();
    let existing = match dir.metadata() {
        Ok(metadata) if !metadata.is_dir() => return vec![format!("{shown} is not a directory")],
        Ok(_) => dir,
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return vec![format!("{shown} cannot be read: {error}")];
        }
        // It is created.
        Err(_) => match dir.ancestors().find(|dir| dir.is_dir()) {
            Some(existing) => existing,
            None => return vec![format!("{shown} cannot be created")],
        },
    };
    let mut problems = Vec::new();
    if rustix::fs::access(existing, Access::WRITE_OK).is_err() {
        let problem = "is not writable: the file system is read-only, or the container lacks the capability DAC_OVERRIDE or the SELinux type spc_t";
        problems.push(format!("{} {problem}", existing.display()));
    }
    let Ok(system) = rustix::fs::statvfs(existing) else {
        return problems;
    };
    if must_run && system.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        problems.push(format!(
            "{shown} is on a file system mounted noexec: the runtime cannot execute the shim there"
        ));
    }
    let needed = u64::try_from(bytes).unwrap_or(u64::MAX);
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    if free < needed.saturating_add(RESERVE_BYTES) {
        problems.push(format!(
            "{shown} has {free} bytes of free space, {needed} are needed"
        ));
    }
    problems
}

/// Why files of an earlier installation or of another program cannot be replaced in a directory.
fn unreadable<'a>(dir: &Path, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if !dir.is_dir() {
        return None;
    }
    let error = Installation::in_dir(dir).check(names).err()?;
    Some(cnidaria_core::report::chain(&error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn rig() -> (tempfile::TempDir, InstallArgs) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("modules")).unwrap();
        std::fs::write(at("shim"), "a cnidaria.shim").unwrap();
        std::fs::write(at("modules/a.wasm"), "m").unwrap();
        std::fs::write(at("modules/readme"), "r").unwrap();
        let args = InstallArgs {
            pre: false,
            bin_dir: at("bin"),
            policies_dir: Some(at("policies")),
            shim: Some(at("shim")),
            modules: at("modules"),
        };
        (dir, args)
    }

    #[test]
    fn shim_has_both_names_and_modules_are_copied() {
        let (_dir, args) = rig();
        assert_eq!(install(&args).unwrap().code, 0);
        for name in SHIM_NAMES {
            let path = args.bin_dir.join(name);
            assert!(is_our_shim(&std::fs::read(&path).unwrap()));
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o755);
        }
        let policies = args.policies_dir.unwrap();
        assert!(policies.join("a.wasm").exists());
        assert!(!policies.join("readme").exists());
    }

    #[test]
    fn another_program_is_not_installed_as_the_shim() {
        let (dir, args) = rig();
        std::fs::write(dir.path().join("shim"), "root:x:0:0").unwrap();
        let error = install(&args).unwrap_err().to_string();
        assert!(error.ends_with("shim is not cnidaria-shim"), "{error}");
        assert!(!args.bin_dir.exists());
    }

    #[test]
    fn a_check_writes_nothing() {
        let (_dir, mut args) = rig();
        args.pre = true;
        assert_eq!(install(&args).unwrap().code, 0);
        assert!(!args.bin_dir.exists());
        std::fs::write(&args.bin_dir, "a file").unwrap();
        let output = install(&args).unwrap();
        assert_eq!(output.code, UNFIT);
        assert!(
            output.text.contains("is not a directory"),
            "{}",
            output.text
        );
    }

    #[test]
    fn a_check_finds_what_cannot_be_replaced() {
        for (name, expected) in [
            ("multus-shim/x", "not a regular file"),
            (".cnidaria-installed.json", "if it is damaged, remove"),
        ] {
            let (_dir, mut args) = rig();
            let file = args.bin_dir.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "{").unwrap();
            args.pre = true;
            let output = install(&args).unwrap();
            assert_eq!(output.code, UNFIT);
            assert!(output.text.contains(expected), "{}", output.text);
        }
    }
}
