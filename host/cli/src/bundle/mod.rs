//! `cnidaria bundle`: what a maintainer asks for first, in one file, without secrets.

mod archive;
mod configuration;
mod gather;
mod scrub;

use std::error::Error;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use shim_api::admin::rfc3339;

use crate::args::{Args, BundleArgs};
use crate::output::{self, Column};

/// Bytes of one file of a bundle, and of all of them before they are compressed.
const MAX_FILE: usize = 4 << 20;
const MAX_BUNDLE: usize = 16 << 20;

/// The name that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// A file of a bundle.
#[derive(Debug)]
struct Part {
    name: &'static str,
    what: &'static str,
    content: Vec<u8>,
}

/// Lists what is in the bundle, and writes it unless only the list is wanted.
pub(crate) fn bundle(args: &Args, wanted: &BundleArgs) -> Result<String, Box<dyn Error>> {
    let is_stream = wanted.file.as_deref() == Some(Path::new(STANDARD_OUTPUT));
    if is_stream && std::io::stdout().is_terminal() {
        return Err(
            "a bundle is not text: name a file, or redirect standard output: `- >FILE`".into(),
        );
    }
    let mut parts = gather::parts(args, wanted)?;
    bound(&mut parts, MAX_FILE, MAX_BUNDLE);
    let list = list(&parts);
    if wanted.list {
        return Ok(list);
    }
    if is_stream {
        output::note(&list);
        let _written = archive::write_to(std::io::stdout().lock(), &parts)?;
        return Ok(String::new());
    }
    output::print(&list)?;
    let path = wanted.file.clone().unwrap_or_else(default_path);
    archive::write(&path, &parts)?;
    Ok(format!(
        "\nwritten to {}, which only you can read. Values of unknown keys, tokens, passwords and certificates are \
         left out.\nMessages of plugins and policies are as they were: read the files before you share them.\n",
        path.display()
    ))
}

fn list(parts: &[Part]) -> String {
    let columns = [
        Column::Whole("FILE"),
        Column::Whole("BYTES"),
        Column::Broken("CONTENT"),
    ];
    let row = |part: &Part| {
        vec![
            part.name.to_owned(),
            part.content.len().to_string(),
            part.what.to_owned(),
        ]
    };
    output::table(&columns, parts.iter().map(row).collect())
}

/// Cuts what is too long; the first parts are the most useful ones.
fn bound(parts: &mut [Part], each: usize, all: usize) {
    const CUT: &[u8] = b"\n... cut\n";
    let mut left = all;
    for part in parts {
        let most = each.min(left);
        if part.content.len() > most {
            part.content.truncate(most.saturating_sub(CUT.len()));
            part.content.extend_from_slice(CUT);
        }
        left = left.saturating_sub(part.content.len());
    }
}

/// A name with the node and the time.
fn default_path() -> PathBuf {
    let name = rustix::system::uname();
    let node = name.nodename().to_string_lossy().into_owned();
    let time = rfc3339(gather::now()).replace(':', "");
    PathBuf::from(format!("cnidaria-{node}-{time}.tar.gz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_bounded() {
        let part = |bytes| Part {
            name: "n",
            what: "w",
            content: vec![b'x'; bytes],
        };
        let mut parts = [part(50), part(500), part(80), part(10)];
        bound(&mut parts, 100, 220);
        let lengths: Vec<_> = parts.iter().map(|part| part.content.len()).collect();
        assert_eq!(lengths, [50, 100, 70, 9]);
        assert!(parts[1].content.ends_with(b"cut\n"));
    }
}
