//! An ADD without the daemon's work: only the server, and starting the delegate from it. The report
//! shows ADD's goals beside these.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::manifests::burst;
use crate::report::Report;
use crate::samples::{Samples, milliseconds};
use crate::target::{Target, Way};
use crate::yardstick::{Yardsticks, at_the_same_time};

const AT_ONCE: usize = 16;

/// The bare server, killed on drop.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(
    report: &mut Report,
    yardsticks: &Yardsticks,
    target: &Target,
    rounds: usize,
    calls: usize,
) -> Result<(), Error> {
    let socket = std::env::temp_dir().join(format!("cnidaria-bare-{}.sock", std::process::id()));
    let _bare = start(&socket, &yardsticks.noop.path)?;
    let target = Target {
        socket: socket.clone(),
        conf: yardsticks.noop.stdin.clone(),
        ..target.clone()
    };
    let measured = one_by_one(report, yardsticks, &target, rounds)
        .and_then(|()| at_once(report, yardsticks, &target, calls));
    let _ = std::fs::remove_file(socket);
    measured
}

fn start(socket: &Path, delegate: &Path) -> Result<Bare, Error> {
    let program = std::env::current_exe().map_err(Error::file("/proc/self/exe"))?;
    let child = Command::new(&program)
        .arg("bare")
        .args([socket, delegate])
        .stdin(Stdio::null())
        .spawn()
        .map_err(Error::file(&program))?;
    let mut bare = Bare(child);
    while !socket.exists() {
        if let Some(status) = bare.0.try_wait().map_err(Error::file(&program))? {
            return Err(Error::Failed {
                what: "starting the bare server".to_owned(),
                said: status.to_string(),
            });
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(bare)
}

fn one_by_one(
    report: &mut Report,
    yardsticks: &Yardsticks,
    target: &Target,
    rounds: usize,
) -> Result<(), Error> {
    let [mut took, mut over, mut in_y] = [(); 3].map(|()| Samples::default());
    for _ in 0..rounds {
        let before = milliseconds(yardsticks.y()?);
        let call = target.call(Way::Socket, "ADD", "bare", "bare").make()?;
        let y = before.midpoint(milliseconds(yardsticks.y()?));
        let call = milliseconds(call);
        took.push(call);
        over.push(call - y);
        in_y.push((call - y) / y);
    }
    report.measure("bare.add", "bare server: ADD on the socket", "ms", &took);
    report.measure("bare.over", "… beyond its limit", "ms", &over);
    report.measure("bare.over.y", "… the same in Y", "Y", &in_y);
    Ok(())
}

fn at_once(
    report: &mut Report,
    yardsticks: &Yardsticks,
    target: &Target,
    calls: usize,
) -> Result<(), Error> {
    let process = target.process()?;
    let before = yardsticks.rate(AT_ONCE, calls / 2)?;
    let cpu = process.cpu()?;
    let each = calls / AT_ONCE;
    let (elapsed, _) = at_the_same_time(AT_ONCE, |thread| {
        (0..each).try_for_each(|_| {
            let call = target.call(Way::Socket, "ADD", "bare", &burst(thread));
            call.make().map(drop)
        })
    })?;
    let count = (each * AT_ONCE) as f64;
    let cpu = milliseconds(process.cpu()?.saturating_sub(cpu)) / count;
    let limit = before.midpoint(yardsticks.rate(AT_ONCE, calls / 2)?);
    let rate = count / elapsed.as_secs_f64();
    report.number("bare.16", "bare server: ADD, 16 at once", "1/s", rate);
    report.number("bare.16.share", "… share of the limit", "×", rate / limit);
    report.number(
        "bare.16.cpu",
        "… processor time of the server for one",
        "ms",
        cpu,
    );
    Ok(())
}
