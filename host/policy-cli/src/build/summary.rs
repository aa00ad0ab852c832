//! What a build made: size, hooks and grants.

use std::path::Path;

use policy_engine::compile::{self, Import};

use super::Error;

/// Describes the component.
///
/// # Errors
/// [`Error::Unusable`] if the daemon would not load it.
pub(super) fn of(path: &Path, module: &[u8]) -> Result<String, Error> {
    let inspection = compile::inspect(module).map_err(|source| Error::Unusable {
        path: path.to_owned(),
        source,
    })?;
    if let Some(reason) = inspection.fault {
        return Err(Error::Component { reason });
    }
    let hooks: Vec<&str> = inspection.hooks.iter().map(|hook| hook.as_str()).collect();
    let mut grants = Vec::new();
    let mut has_wasi = false;
    for import in &inspection.imports {
        match import {
            Import::Granted { grant, .. } => grants.push(*grant),
            Import::Wasi { .. } => has_wasi = true,
            Import::Unknown { name } => {
                let reason = format!("it imports {name}, which the daemon does not have");
                return Err(Error::Component { reason });
            }
            Import::Always { .. } => {}
        }
    }
    let or_none = |names: Vec<&str>| match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    };
    let wasi = if has_wasi {
        "imported, and empty"
    } else {
        "not imported"
    };
    let said = inspection.description.ok().flatten();
    let said = said.map_or_else(String::new, |said| {
        format!("module  {}\n", crate::plain(&said.title()))
    });
    Ok(format!(
        "{}  {}\n{said}hooks   {} (version {})\ngrants  {}\nWASI    {wasi}\ndigest  {}\n",
        path.display(),
        size(module.len()),
        or_none(hooks),
        inspection.version.unwrap_or("unknown"),
        or_none(grants),
        inspection.digest,
    ))
}

/// A size in the largest unit that keeps it above one.
pub(crate) fn size(bytes: usize) -> String {
    let bytes = bytes as f64;
    match bytes {
        0.0..1024.0 => format!("{bytes} bytes"),
        1024.0..1_048_576.0 => format!("{:.1} KiB", bytes / 1024.0),
        _ => format!("{:.1} MiB", bytes / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size(100), "100 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 20), "3.0 MiB");
    }
}
