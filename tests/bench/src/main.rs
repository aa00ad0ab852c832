//! `cnidaria-bench` measures any daemon and shim that speak the protocol, against yardsticks
//! measured at the same time, and reports which goals are met.
//!
//! ```text
//! args ─▶ deployment ─▶ target ─▶ sections ─▶ report ─▶ tables, JSON, plots, comparison
//! ```

#![allow(
    clippy::indexing_slicing,
    reason = "JSON that is built here has the members that are set here"
)]

mod api;
mod args;
mod bare;
mod collector;
mod compare;
mod deployment;
mod error;
mod manifests;
mod plot;
mod process;
mod program;
mod report;
mod samples;
mod sections;
mod target;
mod yardstick;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::Parser;

use crate::args::{Arguments, Foreign, Run, Section, Task};
use crate::deployment::{Running, Site};
use crate::error::Error;
use crate::report::Report;
use crate::sections::{
    api as with_api, authoring, bare as without, burst, edits, growth, idle, latency, modules,
    operating, policies, real, shim,
};
use crate::target::Target;
use crate::yardstick::Yardsticks;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Task::Run(run) => measure(&run).map(|()| ExitCode::SUCCESS),
        Task::Manifests => {
            println!("{:#}", manifests::list(manifests::all()));
            Ok(ExitCode::SUCCESS)
        }
        Task::Plot { report, directory } => Report::read(&report)
            .and_then(|report| plot::draw(&report, &directory))
            .map(|()| ExitCode::SUCCESS),
        Task::Bare { socket, delegate } => {
            bare::serve(&socket, &delegate).map(|()| ExitCode::SUCCESS)
        }
        Task::Compare { stored, new } => compare(&stored, &new),
    };
    done.unwrap_or_else(|error| {
        eprintln!("cnidaria-bench: {}", error.chain());
        ExitCode::FAILURE
    })
}

/// What is measured, and what to stop afterwards.
struct Subject {
    target: Target,
    yardsticks: Yardsticks,
    /// Absent for a foreign daemon.
    own: Option<(Site, Running)>,
}

impl Subject {
    fn own() -> Result<Self, Error> {
        let site = Site::new()?;
        let deployment = site.deployment("main")?;
        deployment.add(&manifests::all())?;
        let running = deployment.start()?;
        let target = running.target.clone();
        Ok(Self {
            yardsticks: Yardsticks::new(&site.noop, &target),
            target,
            own: Some((site, running)),
        })
    }

    fn foreign(foreign: &Foreign) -> Result<Self, Error> {
        let directory = foreign.noop.parent().unwrap_or(Path::new("/"));
        let target = Target {
            socket: foreign.daemon_socket.clone(),
            shim: foreign.shim.clone(),
            conf: fs::read(&foreign.conf).map_err(Error::file(&foreign.conf))?,
            netns: foreign.netns.display().to_string(),
            plugins: directory.display().to_string(),
            knows_uids: false,
        };
        Ok(Self {
            yardsticks: Yardsticks::new(&foreign.noop, &target),
            target,
            own: None,
        })
    }
}

fn measure(run: &Run) -> Result<(), Error> {
    let subject = match &run.foreign {
        Some(foreign) => Subject::foreign(foreign)?,
        None => Subject::own()?,
    };
    let Subject {
        target,
        yardsticks,
        own,
    } = &subject;
    let mut report = Report::default();
    about(&mut report, "at the start");
    let wanted = |section| run.only.is_empty() || run.only.contains(&section);
    let rounds = |all: usize| if run.quick { all / 5 } else { all };
    if wanted(Section::Shim) {
        let scratch = std::env::temp_dir().join(format!("cnidaria-bench-{}", std::process::id()));
        let done = shim::run(&mut report, yardsticks, target, rounds(1000), &scratch);
        let _ = fs::remove_dir_all(&scratch);
        done?;
    }
    if wanted(Section::Latency) {
        latency::run(&mut report, yardsticks, target, rounds(500), None)?;
    }
    if wanted(Section::Bare) {
        without::run(&mut report, yardsticks, target, rounds(500), rounds(3200))?;
    }
    if wanted(Section::Burst) {
        burst::run(&mut report, yardsticks, target, rounds(3200))?;
    }
    if let Some((site, _)) = own {
        if wanted(Section::Api) {
            with_api::run(&mut report, site, yardsticks, rounds(250), rounds(1280))?;
        }
        if wanted(Section::Real) {
            real::run(&mut report, site, rounds(100))?;
        }
        if wanted(Section::Policies) {
            policies::run(&mut report, site, &run.module, rounds(500), rounds(3200))?;
        }
        if wanted(Section::Edits) {
            edits::run(&mut report, site, rounds(100))?;
        }
        if wanted(Section::Modules) {
            modules::run(&mut report, site, rounds(100))?;
        }
        if wanted(Section::Idle) {
            idle::run(&mut report, site)?;
        }
        if wanted(Section::Operating) {
            operating::run(&mut report, site, rounds(500))?;
        }
        if wanted(Section::Authoring) {
            authoring::run(&mut report, site, rounds(500))?;
        }
        if wanted(Section::Growth) {
            growth::run(&mut report, site, rounds(200))?;
        }
        let daemon = program::size(&site.binaries.daemon()?)? / 1e6;
        report.number("daemon.size", "daemon, size of its file", "MB", daemon);
        let shown = format!("{daemon:.1} MB");
        report.goal("daemon, size", "≤ 12 MB", shown, daemon, 12.0);
    }
    about(&mut report, "at the end");
    report.write(&run.output)?;
    println!("{}", report.tables());
    println!("{}", run.output.display());
    Ok(())
}

/// Records the machine and the load on it.
fn about(report: &mut Report, when: &str) {
    let first_line = |path: &str, prefix: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(prefix));
        line.unwrap_or_default().to_owned()
    };
    let model = first_line("/proc/cpuinfo", "model name");
    let model = model.split_once(':').map_or("", |(_, model)| model.trim());
    let processors = thread::available_parallelism().map_or(1, usize::from);
    report.about.extend([
        ("processor".to_owned(), format!("{processors} × {model}")),
        (
            "kernel".to_owned(),
            first_line("/proc/sys/kernel/osrelease", ""),
        ),
        (format!("load {when}"), first_line("/proc/loadavg", "")),
    ]);
}

fn compare(stored: &Path, new: &Path) -> Result<ExitCode, Error> {
    let slower = compare::slower(&Report::read(stored)?, &Report::read(new)?);
    for one in &slower {
        println!("{one}");
    }
    if slower.is_empty() {
        println!("nothing got slower");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
