//! Plots of a report, as SVG for light and dark pages.

mod bars;
mod calls;
mod lines;
mod svg;

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::report::Report;

/// Draws the report's plots: `goals.svg`, `calls.svg`, `growth.svg`.
pub(crate) fn draw(report: &Report, directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(Error::file(directory))?;
    let plots = [
        ("goals.svg", bars::goals(report)),
        ("calls.svg", calls::calls(report)),
        ("growth.svg", lines::growth(report)),
    ];
    for (name, plot) in plots {
        let path = directory.join(name);
        fs::write(&path, plot).map_err(Error::file(path))?;
    }
    Ok(())
}
