//! `cnidaria policy inspect`: describes a component without running it.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use policy_engine::compile::{Import, Inspection};

use crate::output;

/// Maximum size of a module in bytes, as in the daemon.
const MAX_MODULE: u64 = 64 << 20;

/// Describes the component `module`.
pub(crate) fn inspect(module: &Path) -> Result<String, Box<dyn Error>> {
    policy_engine::compile::confine()?;
    let bytes = read(module)?;
    let inspection = policy_engine::compile::inspect(&bytes)?;
    Ok(describe(&inspection, bytes.len()))
}

pub(super) fn read(module: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let failed = |error| format!("cannot read {}: {error}", module.display());
    let mut bytes = Vec::new();
    let file = File::open(module).map_err(failed)?;
    file.take(MAX_MODULE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_MODULE {
        let module = module.display();
        return Err(format!("{module} has more than {MAX_MODULE} bytes").into());
    }
    Ok(bytes)
}

fn describe(inspection: &Inspection, bytes: usize) -> String {
    let hooks: Vec<_> = inspection
        .hooks
        .iter()
        .map(|hook| hook.as_str().to_owned())
        .collect();
    let grants: Vec<_> = inspection
        .imports
        .iter()
        .filter_map(|import| match import {
            Import::Granted { grant, .. } => Some((*grant).to_owned()),
            _ => None,
        })
        .collect();
    let imports: Vec<_> = inspection
        .imports
        .iter()
        .map(|import| import.name().to_owned())
        .collect();
    let target = inspection.version.map_or_else(
        || super::words(&[]),
        |version| format!("cnidaria:policy@{version}"),
    );
    let rows = [
        ("digest", inspection.digest.clone()),
        ("size", format!("{bytes} bytes")),
        ("targets", target),
        ("hooks", super::words(&hooks)),
        ("grants asked for", super::words(&grants)),
        ("imports", super::words(&imports)),
    ];
    let mut text: String = rows
        .iter()
        .map(|(key, value)| format!("{key:<18}{}\n", output::plain(value)))
        .collect();
    for import in &inspection.imports {
        if let Import::Unknown { name } = import {
            text += &format!(
                "does not load: imports {}, which this version does not have\n",
                output::plain(name)
            );
        }
    }
    if let Some(reason) = &inspection.fault {
        text += &format!("does not load: {}\n", output::plain(reason));
    }
    text
}
