//! Single calls, both ways, with no-op delegates: what remains after the delegates and a process
//! start is the daemon's own cost.

use crate::api::Api;
use crate::error::Error;
use crate::manifests::{EXTRA, single};
use crate::report::Report;
use crate::samples::{Samples, milliseconds};
use crate::target::{Target, Way};
use crate::yardstick::{REFERENCE_Y, Yardsticks};

/// One kind of call; one sample per round.
#[derive(Default)]
struct Kind {
    took: Samples,
    /// The lower bound.
    limit: Samples,
    /// One no-op delegate, measured at the same time.
    y: Samples,
}

impl Kind {
    fn push(&mut self, took: std::time::Duration, limit: f64, y: f64) {
        self.took.push_time(took);
        self.limit.push(limit);
        self.y.push(y);
    }
}

pub(crate) fn run(
    report: &mut Report,
    yardsticks: &Yardsticks,
    target: &Target,
    rounds: usize,
    api: Option<&Api>,
) -> Result<(), Error> {
    let mut writer = api.map(Api::connect).transpose()?;
    for extra in EXTRA {
        let pod = single(extra);
        let delegates = (1 + extra) as f64;
        let mut kinds = [(); 4].map(|()| Kind::default());
        let [add_socket, del_socket, add_shim, del_shim] = &mut kinds;
        for round in 0..rounds {
            // Before and after, so that neither way gets the quieter moment.
            let before = milliseconds(yardsticks.y()?);
            let container = format!("socket-{extra}-{round}");
            let (add, del) = target.add_and_del(Way::Socket, &container, &pod)?;
            let y = before.midpoint(milliseconds(yardsticks.y()?));
            let t = milliseconds(yardsticks.t()?);
            // A DEL makes no write.
            let a = match &mut writer {
                Some(writer) => milliseconds(writer.patch(&pod)?),
                None => 0.0,
            };
            add_socket.push(add, y * delegates + a, y);
            del_socket.push(del, y * delegates, y);
            let container = format!("shim-{extra}-{round}");
            let (add, del) = target.add_and_del(Way::Shim, &container, &pod)?;
            add_shim.push(add, y * delegates + t + a, y);
            del_shim.push(del, y * delegates + t, y);
        }
        let names = [
            ("add.socket", "ADD on the socket"),
            ("del.socket", "DEL on the socket"),
            ("add.shim", "ADD through the shim"),
            ("del.shim", "DEL through the shim"),
        ];
        for ((name, what), kind) in names.into_iter().zip(&kinds) {
            let (prefix, with) = match api {
                Some(_) => ("api.", " with API"),
                None => ("", ""),
            };
            let what = format!("{what}{with}, k = {extra}");
            record(report, &format!("{prefix}{name}.k{extra}"), &what, kind);
        }
    }
    Ok(())
}

/// The allowance above the limit, in milliseconds on the reference machine.
fn allowance(name: &str) -> Option<f64> {
    match name {
        "add.socket.k0" => Some(0.35),
        "add.shim.k0" => Some(0.45),
        "api.add.shim.k0" => Some(0.8),
        "api.add.shim.k4" => Some(1.5),
        "del.shim.k0" => Some(0.5),
        "del.shim.k4" => Some(1.2),
        _ => None,
    }
}

fn record(report: &mut Report, name: &str, what: &str, kind: &Kind) {
    let ratio = kind.took.pairs(&kind.limit, |took, limit| took / limit);
    report.scored(name, what, "ms", &kind.took, ratio.median());
    let over = kind.took.pairs(&kind.limit, |took, limit| took - limit);
    let what_over = format!("{what}: beyond its limit");
    report.measure(&format!("{name}.over"), &what_over, "ms", &over);
    let Some(allowance) = allowance(name) else {
        return;
    };
    // Compared in units of Y: a slower machine does not make a worse daemon.
    let in_y = over.pairs(&kind.y, |over, y| over / y).median();
    let allowed_in_y = allowance / REFERENCE_Y;
    report.goal(
        what,
        &format!("≤ limit + {allowance} ms = {allowed_in_y:.2} Y"),
        format!("limit + {:.2} ms = {in_y:.2} Y", over.median()),
        in_y,
        allowed_in_y,
    );
}
